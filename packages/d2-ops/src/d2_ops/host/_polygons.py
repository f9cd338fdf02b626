"""Drawing polygons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host
from ._rle import RLE, image_shape

_LIMIT = 2.0**28  # pixels from the origin, where COCO's own arithmetic does not overflow


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
    return _draw(_flatten([polygons], nested=False), height, width, 1)[0]


def polygons_to_bitmasks(
    polygons: Sequence[Sequence[ArrayLike]], height: int, width: int, *, num_threads: int = 0
) -> NDArray[np.bool_]:
    """``polygons_to_bitmask`` of each of N instances: (N, height, width) bool."""
    return _draw(_flatten(polygons), height, width, num_threads)


def polygons_to_rle(polygons: Sequence[ArrayLike], height: int, width: int) -> RLE:
    """Encode the union of polygons without drawing it. Arguments as ``polygons_to_bitmask``."""
    return _encode(_flatten([polygons], nested=False), height, width, 1)[0]


def polygons_to_rles(
    polygons: Sequence[Sequence[ArrayLike]], height: int, width: int, *, num_threads: int = 0
) -> list[RLE]:
    """``polygons_to_rle`` of each of N instances."""
    return _encode(_flatten(polygons), height, width, num_threads)


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
    boxes_array = np.ascontiguousarray(boxes_array)
    if boxes_array.shape == (0,):
        boxes_array = boxes_array.reshape(0, 4)
    if boxes_array.ndim != 2 or boxes_array.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), got {boxes_array.shape}")
    if len(boxes_array) != len(polygons):
        raise ValueError(f"{len(polygons)} instances in polygons but {len(boxes_array)} boxes")
    flat = _flatten(polygons)
    masks = np.empty((len(polygons), *image_shape(mask_size, mask_size)), np.uint8)
    _host.crop_polygons(*flat, boxes_array, masks, num_threads)
    return masks.view(np.bool_)


class _Flat(NamedTuple):
    points: NDArray[np.float64]  # x, y, x, y, … of all polygons
    ends: NDArray[np.int64]  # of each polygon in points
    instance_ends: NDArray[np.int64]  # of each instance in ends


def _draw(flat: _Flat, height: int, width: int, num_threads: int) -> NDArray[np.bool_]:
    masks = np.empty((len(flat.instance_ends), *image_shape(height, width)), np.uint8)
    _host.fill_polygons(*flat, masks, num_threads)
    return masks.view(np.bool_)


def _encode(flat: _Flat, height: int, width: int, num_threads: int) -> list[RLE]:
    height, width = image_shape(height, width)
    counts = _host.polygons_to_counts(*flat, height, width, num_threads)
    return [{"size": [height, width], "counts": text} for text in counts]


def _flatten(polygons: Sequence[Sequence[ArrayLike]], nested: bool = True) -> _Flat:
    """All polygons one after the other; ``nested`` says whether errors name the instance too."""
    arrays = [
        np.asarray(polygon, np.float64).ravel() for instance in polygons for polygon in instance
    ]
    instance_ends = np.array([*accumulate(map(len, polygons))], np.int64)
    ends = np.array([*accumulate(array.size for array in arrays)], np.int64)

    def name(i: int) -> str:
        n = int(np.searchsorted(instance_ends, i, "right"))
        first = int(instance_ends[n - 1]) if n else 0
        return f"polygons[{n}][{i - first}]" if nested else f"polygons[{i}]"

    for i, array in enumerate(arrays):
        if array.size < 6 or array.size % 2:
            raise ValueError(f"{name(i)} has {array.size} coordinates: wanted 6, 8, 10, …")
    points = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0), *arrays])
    good = np.abs(points) <= _LIMIT
    if not good.all():
        i = int(np.searchsorted(ends, good.argmin(), "right"))
        raise ValueError(f"{name(i)} has a coordinate that is NaN or beyond 2**28")
    return _Flat(np.ascontiguousarray(points), ends, instance_ends)
