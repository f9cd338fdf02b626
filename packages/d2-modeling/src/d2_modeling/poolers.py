"""Extraction of fixed-size region features from one or several feature maps."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from d2_ops import ROIAlign
from d2_structures import Boxes

_POOLERS = {
    "ROIAlign": partial(ROIAlign, aligned=False),
    "ROIAlignV2": partial(ROIAlign, aligned=True),
}


class ROIPooler(nn.Module):
    """Pools regions from the pyramid level that suits their size.

    Args:
        output_size: height and width of the pooled region.
        scales: feature map pixels per image pixel for each level: powers of two, each half
            of the one before.
        sampling_ratio: see `ROIAlign`.
        pooler_type: ``"ROIAlignV2"`` (aligned) or ``"ROIAlign"`` (legacy).
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
        if pooler_type not in _POOLERS:
            close = difflib.get_close_matches(str(pooler_type), _POOLERS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown pooler_type {pooler_type!r}{hint} Known: {list(_POOLERS)}")
        self.output_size = size
        self.min_level, self.max_level = _pyramid_levels(scales)
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        self.level_poolers = nn.ModuleList(
            _POOLERS[pooler_type](size, spatial_scale=scale, sampling_ratio=sampling_ratio)
            for scale in scales
        )

    def forward(self, x: Sequence[Tensor], box_lists: Sequence[Boxes]) -> Tensor:
        """Pool every box of every image.

        Args:
            x: for each level (N, C, H, W), in the order of ``scales``.
            box_lists: for each of the N images its boxes, in image pixels.

        Returns:
            (M, C, output_height, output_width) for the M boxes of all images in order.

        Raises:
            ValueError: if the number of levels or of images is wrong.
        """
        if len(x) != len(self.level_poolers):
            raise ValueError(f"pooler has {len(self.level_poolers)} levels, got {len(x)} features")
        if len(box_lists) != len(x[0]):
            raise ValueError(f"got boxes of {len(box_lists)} images, features of {len(x[0])}")
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(rois) == 0:
            return x[0].new_zeros((0, x[0].shape[1], *self.output_size))
        if len(self.level_poolers) == 1:
            pooled: Tensor = self.level_poolers[0](x[0], rois)
            return pooled
        levels = assign_boxes_to_levels(
            box_lists,
            self.min_level,
            self.max_level,
            self.canonical_box_size,
            self.canonical_level,
        )
        return self._pool_by_level(x, rois, levels)

    def _pool_by_level(self, x: Sequence[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
        """Group the regions by level, pool each group at once, restore the order."""
        order = torch.argsort(levels, stable=True)
        counts = torch.bincount(levels, minlength=len(x)).tolist()
        groups = rois[order].split(counts)
        pooled = torch.cat(
            [
                pooler(feature, group)
                for pooler, feature, group in zip(self.level_poolers, x, groups, strict=True)
                if len(group) > 0
            ]
        )
        position = torch.empty_like(order)
        position[order] = torch.arange(len(order), device=order.device)
        return pooled[position]


def assign_boxes_to_levels(
    box_lists: Sequence[Boxes],
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
    sizes = torch.sqrt(torch.cat([boxes.area() for boxes in box_lists]))
    # The epsilon keeps boxes of exactly the bound's size on one side.
    levels = torch.floor(canonical_level + torch.log2(sizes / canonical_box_size + 1e-8))
    return levels.clamp(min=min_level, max=max_level).to(torch.int64) - min_level


def convert_boxes_to_pooler_format(box_lists: Sequence[Boxes]) -> Tensor:
    """Join the boxes of all images, with the image's index as the first column.

    Returns:
        (M, 5), or (M, 6) for rotated boxes.
    """
    boxes = torch.cat([image_boxes.tensor for image_boxes in box_lists])
    counts = torch.tensor([len(image_boxes) for image_boxes in box_lists])
    index = torch.repeat_interleave(torch.arange(len(box_lists)), counts)
    index = index.to(device=boxes.device, dtype=boxes.dtype)
    return torch.cat([index[:, None], boxes], dim=1)


def _pyramid_levels(scales: Sequence[float]) -> tuple[int, int]:
    """log2 of the first and last stride, checked to be steps of one."""
    levels = [-math.log2(scale) for scale in scales]
    wanted = [levels[0] + step for step in range(len(levels))] if levels else []
    if not levels or levels[0] != int(levels[0]) or levels[0] < 0 or levels != wanted:
        raise ValueError(
            f"scales have to be powers of two, each half of the one before, got {list(scales)}"
        )
    return int(levels[0]), int(levels[-1])
