"""Drawing polygons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _host
from ._rle import RLE, image_shape


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
    mask = np.empty(image_shape(height, width), np.uint8)
    _host.fill_polygons(points, ends, mask)
    return mask.view(np.bool_)


def polygons_to_rle(polygons: Sequence[ArrayLike], height: int, width: int) -> RLE:
    """Encode the union of polygons without drawing it. Arguments as ``polygons_to_bitmask``."""
    points, ends = _flatten(polygons)
    height, width = image_shape(height, width)
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
    masks = np.empty((len(polygons), *image_shape(mask_size, mask_size)), np.uint8)
    _host.crop_polygons(points, ends, instance_ends, boxes_array, masks, num_threads)
    return masks.view(np.bool_)


def _flatten(polygons: Sequence[ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    arrays = [np.asarray(polygon, np.float64).ravel() for polygon in polygons]
    for i, array in enumerate(arrays):
        if array.size < 6 or array.size % 2:
            raise ValueError(f"polygons[{i}] has {array.size} coordinates: wanted 6, 8, 10, …")
    points = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0), *arrays])
    return points, np.array([*accumulate(array.size for array in arrays)], np.int64)
