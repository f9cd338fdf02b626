"""COCO's run-length encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _host


class RLE(TypedDict):
    """A run-length encoded mask."""

    size: list[int]  # height, width
    counts: bytes


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


def image_shape(height: int, width: int) -> tuple[int, int]:
    if height < 0 or width < 0:
        raise ValueError(f"image size must not be negative, got {height} x {width}")
    return int(height), int(width)


def _size_of(rle: Mapping[str, Any]) -> tuple[int, int]:
    height, width = rle["size"]
    return image_shape(height, width)


def _counts_of(rle: Mapping[str, Any]) -> bytes:
    counts = rle["counts"]
    if isinstance(counts, bytes):
        return counts
    if isinstance(counts, str):
        return counts.encode("ascii")
    return _host.lengths_to_counts([int(length) for length in counts], *_size_of(rle))
