"""A dry run of a network: what its maps are, and which parameters they depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

_TOLERANCE = 0.3
"""Of the binary logarithm of a stride: networks without padding lose pixels at the border."""


class FeatureMap(NamedTuple):
    """Stride and channels of a map, and whether channels are its last axis."""

    stride: int
    channels: int
    channels_last: bool


class NetworkProbe:
    """Calls a network on an image that has no content, without memory where it can be.

    The network is in evaluation mode meanwhile, and unchanged afterwards.

    Args:
        net: maps images to a sequence of tensors.
        size: (C, H, W) of the image that the network gets.
        image_size: (height, width) in whose pixels strides count; that of the image by default.

    Raises:
        ValueError: if the network does not take the image, or returns something else.
    """

    def __init__(
        self,
        net: nn.Module,
        size: tuple[int, int, int],
        image_size: tuple[int, int] | None = None,
    ) -> None:
        self._image_size = image_size or size[1:]
        modes = [(module, module.training) for module in net.modules()]
        net.eval()
        try:
            self._parameters, outputs = _called(net, torch.zeros(1, *size, device="meta"))
        finally:
            for module, mode in modes:
                module.training = mode
        if not isinstance(outputs, (list, tuple)):
            raise ValueError(
                f"{type(net).__name__} has to return a list of maps, got {type(outputs).__name__}"
            )
        self._outputs = outputs

    def maps(self) -> list[FeatureMap | None]:
        """Each output as a map; None for what is none."""
        return [
            _as_map(one.shape, *self._image_size) if isinstance(one, Tensor) else None
            for one in self._outputs
        ]

    def parameters_behind(self, indices: Sequence[int]) -> list[str]:
        """The names of the parameters that some of the outputs depend on."""
        candidates = {name: p for name, p in self._parameters.items() if p.requires_grad}
        total: Any = sum(self._outputs[index].sum() for index in indices)
        if not candidates or not total.requires_grad:
            return []
        gradients = torch.autograd.grad(
            total, list(candidates.values()), allow_unused=True, retain_graph=True
        )
        return [name for name, one in zip(candidates, gradients, strict=True) if one is not None]


@torch.enable_grad()
def _called(net: nn.Module, image: Tensor) -> tuple[dict[str, Tensor], Any]:
    """Parameters that stand for the network's own, and its outputs with them."""
    parameters = {
        name: torch.empty_like(p, device="meta").requires_grad_(p.is_floating_point())
        for name, p in net.named_parameters()
    }
    buffers = {name: b.to("meta") for name, b in net.named_buffers()}
    try:
        return parameters, functional_call(net, {**parameters, **buffers}, (image,))
    except Exception:  # some networks look at values, which can fail in any way
        own: dict[str, Tensor] = dict(net.named_parameters())
        device = next((p.device for p in own.values()), torch.device("cpu"))
        try:
            return own, net(torch.zeros_like(image, device=device))
        except Exception as error:
            height, width = image.shape[2:]
            raise ValueError(
                f"{type(net).__name__} does not take images of {height}x{width} pixels: {error}. "
                "If it takes one size only, name that as square_size"
            ) from error


def _as_map(shape: Sequence[int], height: int, width: int) -> FeatureMap | None:
    """Interpret an output's shape as that of a map; channels may be the first or the last axis."""
    if len(shape) != 4:
        return None
    for channels_last, (rows, columns) in ((False, shape[2:]), (True, shape[1:3])):
        levels = [math.log2(height / rows), math.log2(width / columns)]
        level = round(levels[0])
        if level >= 0 and all(abs(one - level) < _TOLERANCE for one in levels):
            return FeatureMap(2**level, shape[3 if channels_last else 1], channels_last)
    return None
