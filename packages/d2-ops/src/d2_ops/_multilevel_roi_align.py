"""RoIAlign over the levels of a feature pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._arguments import (
    check_device,
    check_floating,
    check_integers,
    check_regions,
    check_rows,
    check_sampling_ratio,
    describe,
    pair,
    with_image_index,
)
from ._linear_pooling import pool, register_linear_pooling

_MOST_LEVELS = 16


def multilevel_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    levels: Tensor | None = None,
    canonical_box_size: float = 224,
    canonical_level: int = 4,
) -> Tensor:
    """Pool every region from its feature map, all of them in one launch.

    Args:
        features: up to 16 maps, each (B, C, H, W) floating, of any H and W. On the CPU those in
            ``torch.channels_last`` are read as they are, and so are their gradients.
        boxes: (K, 5) floating rows of image index, x1, y1, x2, y2, or one (L, 4) tensor per image.
            Any precision: half-precision features keep exact boxes.
        output_size: bins as (height, width), or one number for both.
        spatial_scales: for every map what multiplies box coordinates into its pixels.
        sampling_ratio: see ``roi_align``.
        aligned: see ``roi_align``.
        levels: (K,) integer index into ``features`` of each box. None chooses by the size of the
            box as feature pyramid networks do, see ``assign_to_pyramid``; ``spatial_scales`` have
            to be those of a pyramid then.
        canonical_box_size: square root of the area of a box that belongs to ``canonical_level``.
        canonical_level: log2 of that level's stride.

    Returns:
        (K, C, height, width) in the dtype of the features, as ``roi_align`` would give for each box
        on its map. Differentiable in the features. On CUDA, a level or an image index out of range
        gives NaN.

    Raises:
        TypeError: if features or boxes are not floating tensors, or ``levels`` not an integer one.
        ValueError: if a number of maps, a shape or a device does not fit, ``output_size`` is not
            positive, scales are no pyramid's where levels are to be chosen, or (on the CPU) a level
            or an image index is out of range.
        RuntimeError: from the backward on CUDA under ``torch.use_deterministic_algorithms(True)``.

    Source: Lin et al., "Feature pyramid networks for object detection", 2017, section 4.2.
    """
    maps = list(features)
    _check_maps(maps, spatial_scales)
    rois = with_image_index(boxes, maps[0])
    size = pair("output_size", output_size)
    check_regions("features[0]", maps[0], rois, 5, *size)
    check_sampling_ratio(sampling_ratio)
    if levels is None:
        areas = _exact(rois[:, 3] - rois[:, 1]) * _exact(rois[:, 4] - rois[:, 2])
        pyramid = pyramid_levels(spatial_scales)
        levels = assign_to_pyramid(areas, pyramid, canonical_box_size, canonical_level)
    places = rois, _checked_levels(levels, rois), [float(scale) for scale in spatial_scales]
    return pool("multilevel_roi_align", maps, *places, *size, sampling_ratio, aligned)


def multilevel_roi_align_rotated(
    features: Sequence[Tensor],
    boxes: Tensor,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    *,
    levels: Tensor | None = None,
    canonical_box_size: float = 224,
    canonical_level: int = 4,
) -> Tensor:
    """Pool every rotated region from its feature map, all of them in one launch.

    Like ``multilevel_roi_align`` with aligned samples, for (K, 6) boxes as ``roi_align_rotated``
    takes them.
    """
    maps = list(features)
    _check_maps(maps, spatial_scales)
    size = pair("output_size", output_size)
    check_regions("features[0]", maps[0], boxes, 6, *size)
    check_sampling_ratio(sampling_ratio)
    if levels is None:
        areas = _exact(boxes[:, 3]) * _exact(boxes[:, 4])
        pyramid = pyramid_levels(spatial_scales)
        levels = assign_to_pyramid(areas, pyramid, canonical_box_size, canonical_level)
    places = boxes, _checked_levels(levels, boxes), [float(scale) for scale in spatial_scales]
    return pool("multilevel_roi_align_rotated", maps, *places, *size, sampling_ratio)


def pyramid_levels(spatial_scales: Sequence[float]) -> tuple[int, int]:
    """log2 of the strides of a pyramid's finest and coarsest level.

    Args:
        spatial_scales: pixels of each level per pixel of the image, finest first.

    Raises:
        ValueError: if they are not powers of two, each half of the one before.
    """
    strides = [-math.log2(scale) if scale > 0 else math.nan for scale in spatial_scales]
    wanted = [strides[0] + step for step in range(len(strides))] if strides else []
    if not strides or strides[0] != round(strides[0], 0) or strides[0] < 0 or strides != wanted:
        raise ValueError(
            "scales have to be powers of two, each half of the one before, "
            f"got {list(spatial_scales)}"
        )
    return int(strides[0]), int(strides[-1])


def assign_to_pyramid(
    areas: Tensor,
    levels: tuple[int, int],
    canonical_box_size: float = 224,
    canonical_level: int = 4,
) -> Tensor:
    """Choose the pyramid level of each box by its area.

    A box of ``canonical_box_size`` squared belongs to ``canonical_level``, one of twice the side to
    the next level; boxes beyond the given levels belong to the nearest one.

    Args:
        areas: (K,) floating, in square pixels of the image. Compute them in float32 at least:
            in float16 those of sides of 256 pixels are infinite.
        levels: the finest and the coarsest one, as ``pyramid_levels`` gives them.
        canonical_box_size: in pixels.
        canonical_level: log2 of a stride.

    Returns:
        (K,) int64 from 0, the finest level. Negative areas and NaN belong to the finest.

    Source: Lin et al., "Feature pyramid networks for object detection", 2017, equation 1.
    """
    finest, coarsest = levels
    areas = _exact(areas)
    # The epsilon keeps boxes of exactly the bound's size on one side.
    exact = torch.log2(areas.sqrt() / canonical_box_size + 1e-8) + canonical_level
    chosen = torch.nan_to_num(exact.floor(), nan=finest, posinf=coarsest, neginf=finest)
    return chosen.clamp(finest, coarsest).long() - finest


def _check_maps(maps: list[Tensor], scales: Sequence[float]) -> None:
    if not 1 <= len(maps) <= _MOST_LEVELS:
        raise ValueError(f"features must be 1 to {_MOST_LEVELS} maps, got {len(maps)}")
    if len(scales) != len(maps):
        raise ValueError(f"{len(maps)} maps need as many spatial_scales, got {len(scales)}")
    for i, feature_map in enumerate(maps):
        name = f"features[{i}]"
        check_floating(name, feature_map)
        if feature_map.dim() != 4:
            raise ValueError(f"{name} must have shape (B, C, H, W), got {describe(feature_map)}")
        check_device(name, feature_map, "features[0]", maps[0])
        if feature_map.shape[:2] != maps[0].shape[:2] or feature_map.dtype != maps[0].dtype:
            raise ValueError(
                f"{name} must have the images, channels and dtype of features[0], "
                f"{describe(maps[0])}, got {describe(feature_map)}"
            )


def _checked_levels(levels: Tensor, rois: Tensor) -> Tensor:
    check_integers("levels", levels)
    check_rows("levels", levels, rois)
    return levels.long()


def _exact(lengths: Tensor) -> Tensor:
    """In a type whose products do not overflow."""
    return lengths.to(torch.promote_types(lengths.dtype, torch.float32))


register_linear_pooling("multilevel_roi_align", regions=2, channels_last=True)
register_linear_pooling("multilevel_roi_align_rotated", regions=2)
