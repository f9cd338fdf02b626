"""Boundaries of masks and how well they agree.

Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host
from ._overlaps import overlaps_of_rles
from ._rle import list_of_rles


def mask_boundary(
    mask: ArrayLike, dilation_ratio: float = 0.02, *, num_threads: int = 0
) -> NDArray[np.bool_]:
    """Keep the set pixels near the mask's outline or the image's border.

    A pixel is kept if one that is not set, or one beyond the border, is among the pixels at most d
    rows and d columns away.

    Args:
        mask: (H, W) or (N, H, W), bool or numbers; what is not 0 is set.
        dilation_ratio: d as a share of the image's diagonal, rounded to pixels and at least 1.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        bool of the same shape.

    Raises:
        ValueError: for another number of dimensions, or a ratio that is negative or not finite.
    """
    array = np.asarray(mask)
    if array.ndim == 2:
        return mask_boundary(array[None], dilation_ratio, num_threads=num_threads)[0]
    if array.ndim != 3:
        raise ValueError(f"mask must have 2 or 3 dimensions, got shape {array.shape}")
    stack = np.ascontiguousarray(array if array.dtype == np.bool_ else array != 0).view(np.uint8)
    out = np.empty_like(stack)
    _host.mask_boundaries(stack, _checked(dilation_ratio), out, num_threads)
    return out.view(np.bool_)


def rle_boundary(
    rle: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    dilation_ratio: float = 0.02,
    *,
    num_threads: int = 0,
) -> Any:
    """``mask_boundary`` of an RLE, or of a list of them, without decoding it.

    Returns:
        An RLE, or a list of them.

    Raises:
        ValueError: if counts are not those of a mask of that size, or for a bad ratio.
        KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
    """
    if isinstance(rle, Mapping):
        return rle_boundary([rle], dilation_ratio, num_threads=num_threads)[0]
    rles = list_of_rles(rle, "rle")
    counts = _host.rle_boundaries(rles, _checked(dilation_ratio), num_threads)
    return [
        {"size": [*_host.rle_size(one)], "counts": text}
        for one, text in zip(rles, counts, strict=True)
    ]


def boundary_iou(
    detections: Sequence[Mapping[str, Any]],
    ground_truths: Sequence[Mapping[str, Any]],
    iscrowd: ArrayLike | None = None,
    dilation_ratio: float = 0.02,
    *,
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """``rle_iou`` of the masks' boundaries.

    Boundary AP compares ``numpy.minimum(rle_iou(...), boundary_iou(...))`` with its thresholds.
    """
    ratio = _checked(dilation_ratio)
    return overlaps_of_rles(detections, ground_truths, iscrowd, ratio, num_threads)


def _checked(dilation_ratio: float) -> float:
    if not (math.isfinite(dilation_ratio) and dilation_ratio >= 0):
        raise ValueError(f"dilation_ratio must be finite and not negative, got {dilation_ratio}")
    return float(dilation_ratio)
