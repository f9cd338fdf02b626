"""Networks of other libraries, made for classification, as backbones of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .backbone import Backbone
from .network_probe import FeatureMap, NetworkProbe

PROBED_SIZE = (512, 640)
"""Unequal sides, so that the axes of maps tell themselves apart."""


class ClassifierBackbone(Backbone):
    """Makes a network that returns several maps a drop-in for a ResNet.

    Outputs are called ``res2``, ``res3`` … where level k has stride 2**k. Strides and channels are
    found by a dry run. Maps whose channels come last are permuted, and those of networks without
    padding are resized to the size that their stride asks for. Where a transformer's patches are
    no power of two, as the 14 pixels of DINOv2, images are resized so that its stride becomes the
    next one, 16, which pyramids and poolers want.

    Args:
        net: maps images (N, C, H, W) to a list of maps; of several with one stride the last is
            taken.
        out_features: the outputs wanted; None for all that there are from ``res2`` to ``res5``.
        in_chans: channels of the image.
        freeze_at: k freezes every parameter that the maps of strides up to 2**k depend on, and
            keeps their modules in evaluation mode; 0 freezes nothing.
        freeze_norms: keep statistics and parameters of every batch norm as they are, which small
            batches ask for.
        patch_size: side of a transformer's patches if they give its one map its stride; else 0.
        square_size: side of the square images that a network of fixed size takes, to which images
            are padded; 0 for a network that takes any.

    Raises:
        ValueError: if the network does not take the image of the dry run, as those of fixed size
            do without ``square_size``, or an output is wanted that does not exist.
    """

    def __init__(
        self,
        net: nn.Module,
        out_features: Sequence[str] | None = None,
        *,
        in_chans: int = 3,
        freeze_at: int = 0,
        freeze_norms: bool = False,
        patch_size: int = 0,
        square_size: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self._patch_size = patch_size
        self._square_size = square_size
        sides = (square_size, square_size) if square_size else PROBED_SIZE
        probe = NetworkProbe(net, (in_chans, *self._net_size(*sides)), sides)
        found = named_maps(probe.maps())
        self._out_features = wanted_outputs(list(found), out_features)
        wanted = {name: found[name] for name in self._out_features}
        self._places = [(index, one.channels_last) for index, one in wanted.values()]
        self._out_feature_channels = {name: one.channels for name, (_, one) in wanted.items()}
        self._out_feature_strides = {name: one.stride for name, (_, one) in wanted.items()}
        self._freeze_norms = freeze_norms
        frozen = [index for index, one in found.values() if one.stride <= 2**freeze_at]
        self._freezes = freeze_at > 0 and bool(frozen)
        if self._freezes:
            for name in probe.parameters_behind(frozen):
                net.get_parameter(name).requires_grad = False
        if freeze_norms:
            for module in net.modules():
                if isinstance(module, _BatchNorm):
                    module.requires_grad_(False)
        self.train(self.training)

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest output."""
        return max(self._out_feature_strides.values())

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The square size that the network asks for, if it does."""
        return {"square_size": self._square_size} if self._square_size else {}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to maps (N, C', H / stride, W / stride), rounded up."""
        height, width = x.shape[-2:]
        size = self._net_size(height, width)
        if size != (height, width):
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        maps = self._maps(x)
        outputs = {}
        for (index, channels_last), (name, stride) in zip(
            self._places, self._out_feature_strides.items(), strict=True
        ):
            value: Tensor = maps[index]
            if channels_last:
                value = value.permute(0, 3, 1, 2).contiguous()
            wanted = (-(-height // stride), -(-width // stride))
            if value.shape[-2:] != wanted:
                value = F.interpolate(value, size=wanted, mode="bilinear", align_corners=False)
            outputs[name] = value
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self.net.modules():
            trained = [parameter.requires_grad for parameter in module.parameters()]
            frozen = self._freezes and bool(trained) and not any(trained)
            if frozen or (self._freeze_norms and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def _maps(self, x: Tensor) -> Sequence[Tensor]:
        maps: Sequence[Tensor] = self.net(x)
        return maps

    def _net_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the images that the network gets, so that its stride is a power of two."""
        side = self._patch_size
        if side == 0:
            return height, width
        stride = 1 << (side - 1).bit_length()
        return height * side // stride, width * side // stride


def named_maps(maps: Sequence[FeatureMap | None]) -> dict[str, tuple[int, FeatureMap]]:
    """The last map of each stride and its place, by the names that outputs have."""
    return {
        f"res{one.stride.bit_length() - 1}": (index, one)
        for index, one in enumerate(maps)
        if one is not None
    }


def wanted_outputs(names: Sequence[str], out_features: Sequence[str] | None) -> list[str]:
    """The names of the outputs wanted, by default all of strides 4 to 32.

    Raises:
        ValueError: if one does not exist, or none is left.
    """
    existing = sorted(names, key=lambda name: int(name.removeprefix("res")))
    if out_features is None:
        out_features = [name for name in existing if name in ("res2", "res3", "res4", "res5")]
    missing = [name for name in out_features if name not in existing]
    if missing or not out_features:
        raise ValueError(f"out_features {list(out_features)}: the network has only {existing}")
    return list(out_features)
