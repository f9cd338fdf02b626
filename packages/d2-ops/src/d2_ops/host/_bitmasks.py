"""Boxes around bit masks, and masks cropped by boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host
from ._rle import image_shape, list_of_rles


def mask_bounding_boxes(masks: ArrayLike, *, num_threads: int = 0) -> NDArray[np.float64]:
    """Tight boxes around the set pixels, as ``rle_bounding_boxes`` of the encoded masks.

    Args:
        masks: (N, H, W), bool or numbers; what is not 0 is set.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, 4) float64 x, y, width, height in pixels; all zero for a mask without set pixels.

    Raises:
        ValueError: if there are not three dimensions.
    """
    stack = _stack(masks)
    boxes = np.empty((len(stack), 4), np.float64)
    _host.bitmap_boxes(stack, boxes, num_threads)
    return boxes


def crop_and_resize_bitmasks(
    masks: ArrayLike, boxes: ArrayLike, mask_size: int, *, num_threads: int = 0
) -> NDArray[np.bool_]:
    """Crop each mask by its box and resize it to a square: the training targets of Mask R-CNN.

    A pixel of the result is set where at least half of it is covered, measured by samples as
    ``roi_align`` takes them (aligned, as many as a cell is pixels long), in float32. A box that is
    empty, far outside or not finite gives an empty mask.

    Args:
        masks: (N, H, W), bool or numbers; what is not 0 is set.
        boxes: (N, 4) x1, y1, x2, y2 in pixels; one per mask.
        mask_size: side of the square masks.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, mask_size, mask_size) bool.

    Raises:
        ValueError: if there are not three dimensions, or not one box per mask.
    """
    stack = _stack(masks)
    corners, out = _crops(boxes, len(stack), mask_size)
    _host.crop_bitmaps(stack, corners, out, num_threads)
    return out.view(np.bool_)


def crop_and_resize_rles(
    rles: Sequence[Mapping[str, Any]], boxes: ArrayLike, mask_size: int, *, num_threads: int = 0
) -> NDArray[np.bool_]:
    """``crop_and_resize_bitmasks`` of encoded masks, of which only the crops are decoded.

    Raises:
        ValueError: if counts are not those of a mask of that size, or there is not one box per
            mask.
        KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
    """
    listed = list_of_rles(rles, "rles")
    corners, out = _crops(boxes, len(listed), mask_size)
    _host.crop_rles(listed, corners, out, num_threads)
    return out.view(np.bool_)


def _stack(masks: ArrayLike) -> NDArray[np.uint8]:
    array = np.asarray(masks)
    if array.ndim != 3:
        raise ValueError(f"masks must have shape (N, H, W), got {array.shape}")
    return np.ascontiguousarray(array if array.dtype == np.bool_ else array != 0).view(np.uint8)


def _crops(
    boxes: ArrayLike, count: int, mask_size: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    corners = np.ascontiguousarray(boxes, np.float32)
    if corners.shape == (0,):
        corners = corners.reshape(0, 4)
    if corners.shape != (count, 4):
        raise ValueError(f"boxes must have shape ({count}, 4), one per mask, got {corners.shape}")
    return corners, np.empty((count, *image_shape(mask_size, mask_size)), np.uint8)
