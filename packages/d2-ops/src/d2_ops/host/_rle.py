"""COCO's run-length encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host


class RLE(TypedDict):
    """A run-length encoded mask."""

    size: list[int]  # height, width
    counts: bytes


def rle_encode(mask: ArrayLike, *, num_threads: int = 0) -> Any:
    """Encode a mask, or a stack of masks.

    Args:
        mask: (H, W) or (N, H, W), bool or numbers; what is not 0 is set.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        An RLE, or a list of N.
    """
    array = np.asarray(mask)
    if array.ndim not in (2, 3):
        raise ValueError(f"mask must have 2 or 3 dimensions, got shape {array.shape}")
    if array.ndim == 2:
        return rle_encode(array[None], num_threads=num_threads)[0]
    counts = _host.masks_to_counts(*mask_stack(array), num_threads)
    return [{"size": [*array.shape[1:]], "counts": one} for one in counts]


def mask_stack(masks: NDArray[Any]) -> tuple[NDArray[np.uint8], bool]:
    """Bitmaps (N, H, W) as the kernels take them, and whether column after column."""
    set_pixels = (masks if masks.dtype == np.bool_ else masks != 0).view(np.uint8)
    columns = set_pixels.transpose(0, 2, 1)
    by_columns = columns.flags.c_contiguous
    return (columns if by_columns else np.ascontiguousarray(set_pixels)), by_columns


def rle_decode(
    rle: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, num_threads: int = 0
) -> NDArray[np.bool_]:
    """Turn an RLE into its (H, W) bool mask, or a list of equal sizes into (N, H, W).

    Raises:
        ValueError: if counts are not those of a mask of that size, or sizes differ.
        KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
    """
    if isinstance(rle, Mapping):
        return rle_decode([rle], num_threads=num_threads)[0]
    rles = [*rle]
    masks = np.empty((len(rles), *(_host.rle_size(rles[0]) if rles else (0, 0))), np.uint8)
    _host.rles_to_masks(rles, masks, num_threads)
    return masks.view(np.bool_)


def rle_compress(
    rle: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, num_threads: int = 0
) -> Any:
    """Check an RLE and write its counts as bytes, whatever kind they came in; or those of a list.

    Plain lengths become the text that pycocotools' ``frPyObjects`` makes of them.

    Raises: as ``rle_decode``.
    """
    if isinstance(rle, Mapping):
        return rle_compress([rle], num_threads=num_threads)[0]
    return _host.compress_rles([*rle], num_threads)


def rle_area(rle: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, num_threads: int = 0) -> Any:
    """Count the set pixels of an RLE: an int, or an (N,) int64 array for a list.

    Raises: as ``rle_decode``; sizes may differ.
    """
    if isinstance(rle, Mapping):
        return int(rle_area([rle], num_threads=num_threads)[0])
    rles = rle if isinstance(rle, list) else [*rle]
    areas = np.empty(len(rles), np.int64)
    _host.rle_areas(rles, areas, num_threads)
    return areas


def rle_bounding_boxes(
    rles: Sequence[Mapping[str, Any]], *, num_threads: int = 0
) -> NDArray[np.float64]:
    """Tight boxes around the set pixels.

    Args:
        rles: N masks, whose sizes may differ.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, 4) float64 x, y, width, height in pixels; all zero for a mask without set pixels.

    Raises: as ``rle_decode``.
    """
    listed = list_of_rles(rles, "rles")
    boxes = np.empty((len(listed), 4), np.float64)
    _host.rle_boxes(listed, boxes, num_threads)
    return boxes


def list_of_rles(rles: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """A list of what should be several RLEs."""
    if isinstance(rles, (Mapping, str, bytes)):
        raise TypeError(f"{name} must be a sequence of RLE dicts, got {type(rles).__name__}")
    return [*rles]


def image_shape(height: int, width: int) -> tuple[int, int]:
    """Height and width as ints that are known not to be negative."""
    if height < 0 or width < 0:
        raise ValueError(f"image size must not be negative, got {height} x {width}")
    return int(height), int(width)
