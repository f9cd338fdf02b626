"""Networks of the RegNet design space."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..initialization import msra_fill
from ..layers import CNNBlockBase, get_norm
from ..layers.convolution import Norm, freeze_stages
from .backbone import Backbone

ActivationClass = Callable[[], nn.Module]


def _conv(w_in: int, w_out: int, k: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A He-initialised convolution without bias that keeps the size up to the stride."""
    layer = nn.Conv2d(w_in, w_out, k, stride, padding=k // 2, groups=groups, bias=False)
    msra_fill(layer)
    return layer


def _norm(norm: Norm, width: int) -> nn.Module:
    return get_norm(norm, width) or nn.Identity()


class SimpleStem(CNNBlockBase):
    """3×3 convolution of stride 2, normalisation and activation.

    Args:
        w_in: channels of the image.
        w_out: channels of the output.
        norm: normalisation, see `get_norm`.
        activation_class: makes the activation.
    """

    def __init__(
        self, w_in: int, w_out: int, norm: Norm, activation_class: ActivationClass
    ) -> None:
        super().__init__(w_in, w_out, 2)
        self.conv = _conv(w_in, w_out, 3, stride=2)
        self.bn = _norm(norm, w_out)
        self.af = activation_class()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, w_in, H, W) to (N, w_out, H / 2, W / 2)."""
        out: Tensor = self.af(self.bn(self.conv(x)))
        return out


class SqueezeExcitation(nn.Module):
    """Scales each channel by what a small network makes of all channels' means.

    Args:
        w_in: channels.
        w_se: channels between the network's two layers.
        activation_class: makes the activation between them.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2018.
    """

    def __init__(self, w_in: int, w_se: int, activation_class: ActivationClass) -> None:
        super().__init__()
        self.f_ex = nn.Sequential(
            nn.Conv2d(w_in, w_se, 1), activation_class(), nn.Conv2d(w_se, w_in, 1), nn.Sigmoid()
        )
        for layer in self.f_ex:
            if isinstance(layer, nn.Conv2d):
                msra_fill(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (N, w_in, H, W)."""
        scale: Tensor = self.f_ex(x.mean(dim=(2, 3), keepdim=True))
        return x * scale


class BottleneckTransform(nn.Module):
    """1×1, grouped 3×3, maybe squeeze-and-excitation, 1×1.

    Args:
        w_in: channels of the input.
        w_out: channels of the output.
        stride: stride of the 3×3 convolution.
        norm: normalisation, see `get_norm`.
        activation_class: makes the activations.
        bottleneck_ratio: width of the 3×3 convolution over ``w_out``.
        group_width: channels per group of it.
        se_ratio: width of the squeeze-and-excitation over ``w_in``; 0 for none.
    """

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Norm,
        activation_class: ActivationClass,
        *,
        bottleneck_ratio: float,
        group_width: int,
        se_ratio: float,
    ) -> None:
        super().__init__()
        width = round(w_out * bottleneck_ratio)
        self.a = _conv(w_in, width, 1)
        self.a_bn = _norm(norm, width)
        self.a_af = activation_class()
        self.b = _conv(width, width, 3, stride=stride, groups=width // group_width)
        self.b_bn = _norm(norm, width)
        self.b_af = activation_class()
        self.se: nn.Module | None = None
        if se_ratio:
            self.se = SqueezeExcitation(width, round(w_in * se_ratio), activation_class)
        self.c = _conv(width, w_out, 1)
        self.c_bn = _norm(norm, w_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, w_in, H, W) to (N, w_out, H / stride, W / stride)."""
        x = self.a_af(self.a_bn(self.a(x)))
        x = self.b_af(self.b_bn(self.b(x)))
        if self.se is not None:
            x = self.se(x)
        out: Tensor = self.c_bn(self.c(x))
        return out


class ResBottleneckBlock(CNNBlockBase):
    """A `BottleneckTransform` and a shortcut.

    Args:
        w_in: channels of the input.
        w_out: channels of the output.
        stride: stride of the block.
        norm: normalisation, see `get_norm`.
        activation_class: makes the activations.
        **transform: further arguments of `BottleneckTransform`.

    Source: Radosavovic et al., "Designing Network Design Spaces", 2020, figure 4.
    """

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Norm,
        activation_class: ActivationClass,
        **transform: Any,
    ) -> None:
        super().__init__(w_in, w_out, stride)
        self.proj: nn.Module | None = None
        self.bn: nn.Module | None = None
        if w_in != w_out or stride != 1:
            self.proj = _conv(w_in, w_out, 1, stride=stride)
            self.bn = _norm(norm, w_out)
        self.f = BottleneckTransform(w_in, w_out, stride, norm, activation_class, **transform)
        self.af = activation_class()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, w_in, H, W) to (N, w_out, H / stride, W / stride)."""
        shortcut = x if self.proj is None or self.bn is None else self.bn(self.proj(x))
        out: Tensor = self.af(shortcut + self.f(x))
        return out


class RegNet(Backbone):
    """Stages ``s1``, ``s2`` … whose widths and depths follow from a quantised line.

    Args:
        stem_class: class of the first module, see `SimpleStem`.
        stem_width: its channels.
        block_class: class of the blocks, see `ResBottleneckBlock`.
        depth: number of blocks in all stages.
        w_a: slope of the widths over the blocks.
        w_0: width that the line begins with.
        w_m: ratio between the widths of neighbouring stages, to which the line is rounded.
        group_width: channels per group of the 3×3 convolutions.
        stride: stride of each stage.
        bottleneck_ratio: width of the 3×3 convolutions over that of the stage.
        se_ratio: width of the squeeze-and-excitation over the input's; 0 for none (RegNetX).
        activation_class: makes the activations; None for an in-place ReLU.
        freeze_at: see `freeze`.
        norm: normalisation, see `get_norm`.
        out_features: names of the outputs, out of ``"stem"``, ``"s1"`` …; None for the last.

    Raises:
        ValueError: if the line is no line of widths, or an output does not exist.

    Source: Radosavovic et al., "Designing Network Design Spaces", 2020, section 3.3.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depth: int,
        w_a: float,
        w_0: int,
        w_m: float,
        group_width: int,
        stride: int = 2,
        bottleneck_ratio: float = 1.0,
        se_ratio: float = 0.0,
        activation_class: ActivationClass | None = None,
        freeze_at: int = 0,
        norm: Norm = "BN",
        out_features: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        activation = activation_class or _relu
        self.stem = stem_class(3, stem_width, norm, activation)
        self._out_feature_strides = {"stem": self.stem.stride}
        self._out_feature_channels = {"stem": self.stem.out_channels}
        w_in, total_stride = stem_width, self.stem.stride
        stages = _stage_shapes(depth, w_a, w_0, w_m, group_width, bottleneck_ratio)
        for number, (width, num_blocks, stage_group_width) in enumerate(stages, start=1):
            name = f"s{number}"
            stage = nn.Sequential()
            for index in range(num_blocks):
                block = block_class(
                    w_in,
                    width,
                    stride if index == 0 else 1,
                    norm,
                    activation,
                    bottleneck_ratio=bottleneck_ratio,
                    group_width=stage_group_width,
                    se_ratio=se_ratio,
                )
                stage.add_module(f"b{index + 1}", block)
                w_in = width
            self.add_module(name, stage)
            total_stride *= stride
            self._out_feature_strides[name] = total_stride
            self._out_feature_channels[name] = width
        self._out_features = list(out_features or [f"s{len(stages)}"])
        unknown = [name for name in self._out_features if name not in self._out_feature_strides]
        if unknown:
            raise ValueError(
                f"out_features has unknown {unknown}; outputs are {list(self._out_feature_strides)}"
            )
        self.freeze(freeze_at)

    @property
    def stages(self) -> list[nn.Module]:
        """The stages in order."""
        return [module for name, module in self.named_children() if name != "stem"]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images to the feature maps named in ``out_features``.

        Args:
            x: (N, C, H, W) float.

        Raises:
            ValueError: if ``x`` is not four-dimensional.
        """
        if x.dim() != 4:
            raise ValueError(f"RegNet takes input of shape (N, C, H, W), got {tuple(x.shape)}")
        outputs = {}
        for name, module in self.named_children():
            x = module(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> Self:
        """Stop training the first stages, as is usual in fine-tuning.

        Args:
            freeze_at: number of stages to freeze, the stem being the first of them.

        Returns:
            This network.
        """
        freeze_stages(self.stem, self.stages, freeze_at)
        return self


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _stage_shapes(
    depth: int, w_a: float, w_0: int, w_m: float, group_width: int, bottleneck_ratio: float
) -> list[tuple[int, int, int]]:
    """Width, number of blocks and group width of each stage (equations 2 to 4)."""
    if w_a < 0 or w_0 <= 0 or w_m <= 1 or w_0 % 8 or depth < 1:
        raise ValueError(
            "RegNet wants w_a >= 0, w_m > 1, depth >= 1 and a positive w_0 that is divisible by "
            f"8; got w_a {w_a}, w_m {w_m}, depth {depth}, w_0 {w_0}"
        )
    line = w_0 + w_a * torch.arange(depth, dtype=torch.float64, device="cpu")
    steps = (torch.log(line / w_0) / math.log(w_m)).round()
    widths = (w_0 * w_m**steps / 8).round() * 8
    stages = []
    for width, count in zip(*widths.unique(return_counts=True), strict=True):
        inner = int(max(1, width.item() * bottleneck_ratio))
        groups_of = min(group_width, inner)
        unit = math.lcm(groups_of, int(bottleneck_ratio)) if bottleneck_ratio > 1 else groups_of
        inner = max(unit, round(inner / unit) * unit)
        stages.append((int(inner / bottleneck_ratio), int(count), groups_of))
    return stages
