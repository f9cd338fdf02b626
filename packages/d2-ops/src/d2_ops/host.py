"""Mask kernels for NumPy arrays. Imports no torch, holds no lock while it computes.

Bit for bit what pycocotools computes: polygons become the pixels, and masks the run lengths, that
COCO's tools make of them. An RLE is a dict ``{"size": [height, width], "counts": bytes}``.
Coordinates are continuous pixels, (0, 0) the corner of the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _host


class RLE(TypedDict):
    """A run-length encoded mask."""

    size: list[int]  # height, width
    counts: bytes


def polygons_to_bitmask(
    polygons: Sequence[ArrayLike], height: int, width: int
) -> NDArray[np.bool_]:
    """Draw the union of polygons.

    Args:
        polygons: each a flat x, y, x, y, … of at least three points, in pixels; may reach out of
            the image. None gives an empty mask.
        height: of the image.
        width: of the image.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: for a polygon of fewer than three points or an odd number of coordinates, a
            coordinate that is not finite or beyond 2**28, or a negative image size.
    """
    points, ends = _flatten(polygons)
    mask = np.empty(_image_shape(height, width), np.uint8)
    _host.fill_polygons(points, ends, mask)
    return mask.view(np.bool_)


def polygons_to_rle(polygons: Sequence[ArrayLike], height: int, width: int) -> RLE:
    """Encode the union of polygons without drawing it. Arguments as ``polygons_to_bitmask``."""
    points, ends = _flatten(polygons)
    height, width = _image_shape(height, width)
    counts = _host.polygons_to_counts(points, ends, height, width)
    return {"size": [height, width], "counts": counts}


def crop_and_resize_polygons(
    polygons: Sequence[Sequence[ArrayLike]],
    boxes: ArrayLike,
    mask_size: int,
    *,
    num_threads: int = 0,
) -> NDArray[np.bool_]:
    """Draw each instance's polygons within its box: the training targets of Mask R-CNN.

    Polygons are shifted by the box's corner and scaled by ``mask_size`` over the box's sides
    (0.1 pixel where a side is shorter), then drawn as ``polygons_to_bitmask`` does. The scale is
    computed in the precision of ``boxes``.

    Args:
        polygons: one list of polygons per instance.
        boxes: (N, 4) float32 or float64, x1, y1, x2, y2 in pixels; one per instance.
        mask_size: side of the square masks.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, mask_size, mask_size) bool.

    Raises:
        ValueError: as ``polygons_to_bitmask``, if there is not one box per instance, or if a box
            is not finite or scales its polygons beyond 2**28.
    """
    boxes_array = np.asarray(boxes)
    if boxes_array.dtype != np.float32:
        boxes_array = boxes_array.astype(np.float64)
    boxes_array = np.ascontiguousarray(boxes_array).reshape(-1, 4)
    if len(boxes_array) != len(polygons):
        raise ValueError(f"{len(polygons)} instances in polygons but {len(boxes_array)} boxes")
    flat = [polygon for instance in polygons for polygon in instance]
    points, ends = _flatten(flat)
    instance_ends = np.cumsum([len(instance) for instance in polygons], dtype=np.int64)
    masks = np.empty((len(polygons), *_image_shape(mask_size, mask_size)), np.uint8)
    _host.crop_polygons(points, ends, instance_ends, boxes_array, masks, num_threads)
    return masks.view(np.bool_)


def rle_encode(mask: ArrayLike) -> Any:
    """Encode a mask, or a stack of masks.

    Args:
        mask: (H, W) or (N, H, W), bool or numbers; what is not 0 is set.

    Returns:
        An RLE, or a list of N.
    """
    array = np.asarray(mask)
    if array.ndim == 3:
        return [rle_encode(one) for one in array]
    if array.ndim != 2:
        raise ValueError(f"mask must have 2 or 3 dimensions, got shape {array.shape}")
    set_pixels = array if array.dtype == np.bool_ else array != 0
    if set_pixels.flags.f_contiguous:
        counts = _host.columns_to_counts(set_pixels.T.view(np.uint8))
    else:
        counts = _host.mask_to_counts(np.ascontiguousarray(set_pixels).view(np.uint8))
    return {"size": [*array.shape], "counts": counts}


def rle_decode(rle: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Turn an RLE into its (H, W) bool mask, or a list of equal sizes into (N, H, W)."""
    if isinstance(rle, Mapping):
        mask = np.empty(_size_of(rle), np.uint8)
        _host.counts_to_mask(_counts_of(rle), mask)
        return mask.view(np.bool_)
    sizes = {_size_of(one) for one in rle}
    if len(sizes) > 1:
        raise ValueError(f"masks of one list must have one size, got {sorted(sizes)}")
    masks = np.empty((len(rle), *(sizes.pop() if sizes else (0, 0))), np.uint8)
    for one, mask in zip(rle, masks, strict=True):
        _host.counts_to_mask(_counts_of(one), mask)
    return masks.view(np.bool_)


def rle_area(rle: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
    """Count the set pixels of an RLE: an int, or an (N,) int64 array for a list."""
    if isinstance(rle, Mapping):
        return _host.counts_area(_counts_of(rle), *_size_of(rle))
    return np.array([rle_area(one) for one in rle], np.int64)


def _flatten(polygons: Sequence[ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    arrays = [np.asarray(polygon, np.float64).ravel() for polygon in polygons]
    for i, array in enumerate(arrays):
        if array.size < 6 or array.size % 2:
            raise ValueError(f"polygons[{i}] has {array.size} coordinates: wanted 6, 8, 10, …")
    points = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0), *arrays])
    return points, np.array([*accumulate(array.size for array in arrays)], np.int64)


def _image_shape(height: int, width: int) -> tuple[int, int]:
    if height < 0 or width < 0:
        raise ValueError(f"image size must not be negative, got {height} x {width}")
    return int(height), int(width)


def _size_of(rle: Mapping[str, Any]) -> tuple[int, int]:
    height, width = rle["size"]
    return _image_shape(height, width)


def _counts_of(rle: Mapping[str, Any]) -> bytes:
    counts = rle["counts"]
    if isinstance(counts, bytes):
        return counts
    if isinstance(counts, str):
        return counts.encode("ascii")
    return _host.lengths_to_counts([int(length) for length in counts], *_size_of(rle))
