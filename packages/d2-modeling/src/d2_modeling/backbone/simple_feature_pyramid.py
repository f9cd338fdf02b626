"""A pyramid out of a single feature map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..layers import Conv2d, get_norm
from ..layers.convolution import Norm
from .backbone import Backbone
from .fpn import check_top_block, top_levels


class SimpleFeaturePyramid(Backbone):
    """Scales the last map of a plain backbone to every level of a pyramid.

    Outputs are called ``p2``, ``p3`` … where level k has stride 2**k.

    Args:
        net: the backbone.
        in_feature: name of its output.
        out_channels: channels of every level.
        scale_factors: of each level relative to that output: 4, 2, 1 or 0.5.
        top_block: see `FPN`.
        norm: normalisation, see `get_norm`.
        square_pad: if positive, inputs are to be padded to squares of this size.

    Raises:
        ValueError: if a scale is another, comes twice or would be finer than the image, the
            backbone's stride is no power of two, or a feature does not exist (also the one that
            the top block wants).

    Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", 2022.
    """

    def __init__(
        self,
        net: Backbone,
        in_feature: str,
        out_channels: int,
        scale_factors: Sequence[float],
        top_block: nn.Module | None = None,
        norm: Norm = "LN",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        shapes = net.output_shape()
        if in_feature not in shapes:
            raise ValueError(f"in_feature {in_feature!r}: the backbone gives only {list(shapes)}")
        channels, stride = shapes[in_feature].channels, shapes[in_feature].stride
        assert channels is not None
        assert stride is not None
        _check_scales(scale_factors, stride, in_feature)
        self._out_feature_strides = {}
        self._stage_names = []
        for scale in scale_factors:
            stage = int(math.log2(stride / scale))
            self.add_module(f"simfp_{stage}", _level(channels, out_channels, scale, norm))
            self._stage_names.append(f"simfp_{stage}")
            self._out_feature_strides[f"p{stage}"] = 2**stage
        self.net = net
        self.in_feature = in_feature
        check_top_block(top_block, [*shapes, *self._out_feature_strides], "SimpleFeaturePyramid")
        self.top_block: Any = top_block
        self._size_divisibility = max(self._out_feature_strides.values())
        num_extra: Any = 0 if top_block is None else top_block.num_levels
        for extra in range(num_extra):
            self._out_feature_strides[f"p{stage + extra + 1}"] = 2 ** (stage + extra + 1)
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._square_pad = square_pad

    @property
    def size_divisibility(self) -> int:
        """The largest stride of the levels made of the backbone's output."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The wanted divisibility, and the wanted square size; 0 for none."""
        return {"size_divisibility": self._size_divisibility, "square_size": self._square_pad}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to pyramid levels, in the order of the scales."""
        bottom_up = self.net(x)
        feature = bottom_up[self.in_feature]
        levels = [self.get_submodule(name)(feature) for name in self._stage_names]
        levels.extend(top_levels(self.top_block, bottom_up, levels, self._out_features))
        return dict(zip(self._out_features, levels, strict=True))


def _check_scales(scales: Sequence[float], stride: int, in_feature: str) -> None:
    """Refuse levels that could not be named by their strides."""
    if not scales:
        raise ValueError("scale_factors is empty; a pyramid has at least one level")
    if len(set(scales)) < len(scales):
        raise ValueError(f"scale_factors names a scale twice: {list(scales)}")
    if stride < 1 or stride & (stride - 1):
        raise ValueError(f"the stride of {in_feature!r} has to be a power of two, got {stride}")
    if max(scales) > stride:
        raise ValueError(
            f"scale {max(scales)} of a map of stride {stride} would be finer than the image"
        )


def _level(dim: int, out_channels: int, scale: float, norm: Norm) -> nn.Sequential:
    """Bring the map to its scale, then project it by a 1×1 and a 3×3 convolution."""
    layers: list[nn.Module] = []
    if scale == 4:
        layers = [
            nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2),
            get_norm(norm, dim // 2) or nn.Identity(),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, dim // 4, kernel_size=2, stride=2),
        ]
        dim //= 4
    elif scale == 2:
        layers = [nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2)]
        dim //= 2
    elif scale == 0.5:
        layers = [nn.MaxPool2d(kernel_size=2, stride=2)]
    elif scale != 1:
        raise ValueError(f"scale_factors can be 4, 2, 1 and 0.5, got {scale}")
    for in_channels, kernel_size in ((dim, 1), (out_channels, 3)):
        layers.append(
            Conv2d(
                in_channels,
                out_channels,
                kernel_size=kernel_size,
                padding=kernel_size // 2,
                bias=norm == "",
                norm=get_norm(norm, out_channels),
            )
        )
    return nn.Sequential(*layers)
