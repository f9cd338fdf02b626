"""Extraction of fixed-size region features from one or several feature maps."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from d2_ops import (
    ROIAlign,
    ROIAlignRotated,
    ROIPool,
    assign_to_pyramid,
    multilevel_roi_align,
    multilevel_roi_align_rotated,
    pyramid_levels,
    roi_pool,
)
from d2_structures import Boxes, RotatedBoxes

from .box_kinds import box_kind

_POOLER_TYPES = ("ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated")


class ROIPooler(nn.Module):
    """Pools regions from the pyramid level that suits their size.

    Args:
        output_size: height and width of the pooled region.
        scales: feature map pixels per image pixel for each level: powers of two, each half
            of the one before.
        sampling_ratio: see `ROIAlign`; ``"ROIPool"`` takes no samples.
        pooler_type: ``"ROIAlignV2"`` (aligned), ``"ROIAlign"`` (legacy), ``"ROIPool"`` (the
            largest value of each bin) or ``"ROIAlignRotated"`` (for rotated boxes).
        canonical_box_size: size in image pixels (square root of the area) of a box that
            belongs to ``canonical_level``.
        canonical_level: log2 of that level's stride. Boxes of twice the size belong to the
            next level; those beyond the given levels to the nearest one.

    Raises:
        ValueError: if scales do not form such a pyramid or the type is unknown.

    Source: Lin et al., "Feature Pyramid Networks", 2017, equation 1.
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        if len(size) != 2:
            raise ValueError(f"output_size has to be one or two numbers, got {output_size}")
        if canonical_box_size <= 0:
            raise ValueError(f"canonical_box_size has to be positive, got {canonical_box_size}")
        if pooler_type not in _POOLER_TYPES:
            close = difflib.get_close_matches(str(pooler_type), _POOLER_TYPES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"unknown pooler_type {pooler_type!r}{hint} Known: {list(_POOLER_TYPES)}"
            )
        self.output_size = size
        self.scales = tuple(scales)
        self.sampling_ratio = sampling_ratio
        self.pooler_type = pooler_type
        self.min_level, self.max_level = pyramid_levels(scales)
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    @cached_property
    def level_poolers(self) -> list[nn.Module]:
        """One pooler for each level, for subclasses that pool in their own way."""
        size, ratio = self.output_size, self.sampling_ratio
        if self.pooler_type == "ROIPool":
            return [ROIPool(size, scale) for scale in self.scales]
        if self.pooler_type == "ROIAlignRotated":
            return [ROIAlignRotated(size, scale, ratio) for scale in self.scales]
        aligned = self.pooler_type == "ROIAlignV2"
        return [ROIAlign(size, scale, ratio, aligned=aligned) for scale in self.scales]

    def forward(
        self, x: Sequence[Tensor], box_lists: Sequence[Boxes] | Sequence[RotatedBoxes]
    ) -> Tensor:
        """Pool every box of every image.

        Args:
            x: for each level (N, C, H, W), in the order of ``scales``.
            box_lists: for each of the N images its boxes, in image pixels; rotated ones for
                ``"ROIAlignRotated"``.

        Returns:
            (M, C, output_height, output_width) for the M boxes of all images in order; M is 0
            for no images, too.

        Raises:
            ValueError: if the number of levels or of images is wrong.
        """
        if len(x) != len(self.scales):
            raise ValueError(f"pooler has {len(self.scales)} levels, got {len(x)} features")
        if len(box_lists) != len(x[0]):
            raise ValueError(f"got boxes of {len(box_lists)} images, features of {len(x[0])}")
        if not box_lists:
            return x[0].new_zeros((0, x[0].shape[1], *self.output_size))
        return self.pool(x, convert_boxes_to_pooler_format(box_lists))

    def pool(self, x: Sequence[Tensor], rois: Tensor) -> Tensor:
        """`forward` of boxes that stand below each other.

        Args:
            x: see `forward`.
            rois: (M, 5), or (M, 6) for rotated boxes, the image's index first.
        """
        levels = assign_to_pyramid(
            _areas(rois[:, 1:]),
            (self.min_level, self.max_level),
            self.canonical_box_size,
            self.canonical_level,
        )
        if self.pooler_type == "ROIPool":
            return self._pool_by_level(x, rois, levels)
        settings = self.output_size, self.scales, self.sampling_ratio
        if self.pooler_type == "ROIAlignRotated":
            return multilevel_roi_align_rotated(x, rois, *settings, levels=levels)
        aligned = self.pooler_type == "ROIAlignV2"
        return multilevel_roi_align(x, rois, *settings, aligned, levels=levels)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, scales={self.scales}, "
            f"sampling_ratio={self.sampling_ratio}, pooler_type={self.pooler_type!r}, "
            f"canonical_box_size={self.canonical_box_size}, canonical_level={self.canonical_level}"
        )

    def _pool_by_level(self, x: Sequence[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
        """Take the largest values of the regions of each level, and restore the order."""
        groups = [(levels == level).nonzero()[:, 0] for level in range(len(x))]
        pooled = [
            roi_pool(feature, rois[group], self.output_size, scale)
            for feature, group, scale in zip(x, groups, self.scales, strict=True)
        ]
        return torch.cat(pooled)[torch.cat(groups).argsort()]


def assign_boxes_to_levels(
    box_lists: Sequence[Boxes] | Sequence[RotatedBoxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """Choose the pyramid level of each box by its size.

    Args:
        box_lists: boxes of each image.
        min_level: log2 of the finest level's stride.
        max_level: log2 of the coarsest level's stride.
        canonical_box_size: see `ROIPooler`.
        canonical_level: see `ROIPooler`.

    Returns:
        (M,) int64 in [0, max_level - min_level], 0 being the finest level.
    """
    areas = torch.cat([_areas(boxes.tensor) for boxes in box_lists])
    return assign_to_pyramid(areas, (min_level, max_level), canonical_box_size, canonical_level)


def _areas(boxes: Tensor) -> Tensor:
    """In a type that holds it: in float16 the area of a side of 256 pixels is infinite."""
    exact = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    sides = box_kind(boxes.shape[1]).sides(exact)
    return sides[:, 0] * sides[:, 1]


def convert_boxes_to_pooler_format(box_lists: Sequence[Boxes] | Sequence[RotatedBoxes]) -> Tensor:
    """Join the boxes of all images, with the image's index as the first column.

    Returns:
        (M, 5), or (M, 6) for rotated boxes.
    """
    rows = [
        nn.functional.pad(boxes.tensor, (1, 0), value=index)
        for index, boxes in enumerate(box_lists)
    ]
    return torch.cat(rows)
