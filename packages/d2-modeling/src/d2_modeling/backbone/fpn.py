"""Feature pyramid networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..initialization import xavier_fill
from ..layers import Conv2d, get_norm
from ..layers.convolution import Norm
from .backbone import Backbone


class LastLevelMaxPool(nn.Module):
    """One more pyramid level: every second pixel of ``p5``. Used by R-CNN models."""

    def __init__(self) -> None:
        super().__init__()
        self.num_levels = 1
        self.in_feature = "p5"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Halve (N, C, H, W)."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """Two more pyramid levels by convolutions of stride 2. Used by RetinaNet.

    Args:
        in_channels: channels of the input feature.
        out_channels: channels of both levels.
        in_feature: name of the input feature.
    """

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5") -> None:
        super().__init__()
        self.num_levels = 2
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        xavier_fill(self.p6, self.p7)

    def forward(self, c5: Tensor) -> list[Tensor]:
        """Make the levels of half and quarter size."""
        p6 = self.p6(c5)
        return [p6, self.p7(F.relu(p6))]


class FPN(Backbone):
    """Builds a feature pyramid on top of a backbone.

    Outputs are called ``p2``, ``p3`` … where level k has stride 2**k.

    Args:
        bottom_up: the backbone.
        in_features: its outputs to use, from high to low resolution, each of twice the
            stride of the one before.
        out_channels: channels of every level.
        norm: normalisation, see `get_norm`.
        top_block: None, or a module that makes further levels; it has the attributes
            ``num_levels`` and ``in_feature`` (a bottom-up or a pyramid feature).
        fuse_type: ``"sum"`` or ``"avg"`` of lateral and top-down features.
        square_pad: if positive, inputs are to be padded to squares of this size.

    Raises:
        ValueError: if strides do not double, a feature is missing (also the one that the
            top block wants) or ``fuse_type`` is unknown.

    Source: Lin et al., "Feature Pyramid Networks", 2017.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: Norm = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ValueError(f"fuse_type has to be 'sum' or 'avg', got {fuse_type!r}")
        shapes = bottom_up.output_shape()
        missing = [name for name in in_features if name not in shapes]
        if missing or not in_features:
            raise ValueError(f"in_features {list(in_features)}: bottom-up has only {list(shapes)}")
        strides = [shapes[name].stride or 0 for name in in_features]
        stages = _pyramid_stages(strides)
        for stage, name in zip(stages, in_features, strict=True):
            in_channels = shapes[name].channels
            assert in_channels is not None
            lateral = _fpn_conv(in_channels, out_channels, 1, norm)
            output = _fpn_conv(out_channels, out_channels, 3, norm)
            xavier_fill(lateral, output)
            self.add_module(f"fpn_lateral{stage}", lateral)
            self.add_module(f"fpn_output{stage}", output)
        self.top_block: Any = top_block
        self.in_features = tuple(in_features)
        self.bottom_up = bottom_up
        self._stages = stages
        self._out_feature_strides = {
            f"p{stage}": stride for stage, stride in zip(stages, strides, strict=True)
        }
        check_top_block(top_block, [*shapes, *self._out_feature_strides], "FPN")
        for extra in range(top_block.num_levels if self.top_block is not None else 0):  # type: ignore[union-attr,arg-type]  # documented attribute
            self._out_feature_strides[f"p{stages[-1] + extra + 1}"] = 2 ** (stages[-1] + extra + 1)
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._size_divisibility = strides[-1]
        self._square_pad = square_pad
        self._fuse_type = fuse_type

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest bottom-up feature."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The wanted square size; 0 for none."""
        return {"square_size": self._square_pad}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to pyramid levels, from high to low resolution."""
        bottom_up = self.bottom_up(x)
        levels: list[Tensor] = []
        merged: Tensor | None = None
        for stage, name in zip(reversed(self._stages), reversed(self.in_features), strict=True):
            lateral = self.get_submodule(f"fpn_lateral{stage}")(bottom_up[name])
            if merged is None:
                merged = lateral
            else:
                merged = lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
                if self._fuse_type == "avg":
                    merged = merged / 2
            levels.insert(0, self.get_submodule(f"fpn_output{stage}")(merged))
        levels.extend(top_levels(self.top_block, bottom_up, levels, self._out_features))
        return dict(zip(self._out_features, levels, strict=True))


def check_top_block(top_block: Any, sources: Sequence[str], owner: str) -> None:
    """Refuse a top block whose feature does not exist.

    Args:
        top_block: see `FPN`, or None.
        sources: names of the features that it can have.
        owner: whose top block it is; for the error.

    Raises:
        ValueError: naming the feature and those that there are.
    """
    if top_block is not None and top_block.in_feature not in sources:
        raise ValueError(
            f"the top block of {owner} wants feature {top_block.in_feature!r}; "
            f"there are {list(sources)}"
        )


def top_levels(
    top_block: Any, bottom_up: dict[str, Tensor], levels: list[Tensor], names: Sequence[str]
) -> list[Tensor]:
    """The levels that a top block adds to a pyramid, none without a block.

    Args:
        top_block: see `FPN`, or None.
        bottom_up: features of the backbone below the pyramid.
        levels: the pyramid's levels so far.
        names: names of the pyramid's levels, those of ``levels`` first.
    """
    if top_block is None:
        return []
    source = top_block.in_feature
    feature = bottom_up[source] if source in bottom_up else levels[names.index(source)]
    added: list[Tensor] = top_block(feature)
    return added


def _pyramid_stages(strides: Sequence[int]) -> list[int]:
    """log2 of the strides, which have to be powers of two that double."""
    stages = [int(math.log2(stride)) if stride > 0 else -1 for stride in strides]
    expected = [stages[0] + offset for offset in range(len(stages))]
    if stages != expected or any(2**k != s for k, s in zip(stages, strides, strict=True)):
        raise ValueError(
            f"FPN wants features whose strides are powers of two and double, got {list(strides)}"
        )
    return stages


def _fpn_conv(in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
    )
