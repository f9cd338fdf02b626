"""Unions and overlaps as COCO measures them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host
from ._array_arguments import flags
from ._rle import RLE, list_of_rles


def rle_merge(
    rles: Sequence[Mapping[str, Any]], intersect: bool = False, *, num_threads: int = 0
) -> RLE:
    """Union, or intersection, of masks.

    Args:
        rles: masks of one size. None gives a mask of size 0 x 0.
        intersect: keep the pixels that all masks have, instead of those that any has.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Raises:
        ValueError: if counts are not those of a mask of that size, or sizes differ.
        KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
    """
    listed = list_of_rles(rles, "rles")
    counts = _host.merge_rles(listed, intersect, num_threads)
    return {"size": [*_host.rle_size(listed[0])] if listed else [0, 0], "counts": counts}


def rle_iou(
    detections: Sequence[Mapping[str, Any]],
    ground_truths: Sequence[Mapping[str, Any]],
    iscrowd: ArrayLike | None = None,
    *,
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """Overlap of every detection with every ground truth.

    Args:
        detections: N masks.
        ground_truths: M masks of the same size.
        iscrowd: M flags: with a crowd region, the shared pixels are divided by those of the
            detection instead of by those of both. None means no crowds.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, M) float64, 0 where neither mask has a pixel.

    Raises:
        ValueError: if counts are not those of a mask of that size, or sizes differ, or there is
            not one flag per ground truth.
        KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
    """
    return overlaps_of_rles(detections, ground_truths, iscrowd, -1.0, num_threads)


def box_iou(
    detections: ArrayLike,
    ground_truths: ArrayLike,
    iscrowd: ArrayLike | None = None,
    *,
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """Overlap of every detected box with every ground truth: pycocotools' ``bbIou``.

    Args:
        detections: (N, 4) x, y, width, height.
        ground_truths: (M, 4) x, y, width, height.
        iscrowd: M flags, as for ``rle_iou``.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, M) float64, computed in float64.

    Raises:
        ValueError: for other shapes, or coordinates that are NaN or infinite.
    """
    boxes = _boxes(detections, "detections")
    truths = _boxes(ground_truths, "ground_truths")
    overlaps = np.empty((len(boxes), len(truths)))
    crowd = flags("iscrowd", iscrowd, len(truths))
    _host.box_ious(boxes, np.ascontiguousarray(truths.T), crowd, overlaps, num_threads)
    return overlaps


def overlaps_of_rles(
    detections: Sequence[Mapping[str, Any]],
    ground_truths: Sequence[Mapping[str, Any]],
    iscrowd: ArrayLike | None,
    boundary_ratio: float,
    num_threads: int,
) -> NDArray[np.float64]:
    """Overlaps of masks, or of their boundaries where the ratio is not negative."""
    rows = list_of_rles(detections, "detections")
    columns = list_of_rles(ground_truths, "ground_truths")
    overlaps = np.empty((len(rows), len(columns)))
    crowd = flags("iscrowd", iscrowd, len(columns))
    _host.rle_ious(rows, columns, crowd, boundary_ratio, overlaps, num_threads)
    return overlaps


def _boxes(boxes: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.ascontiguousarray(boxes, np.float64)
    if array.shape == (0,):
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), got {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(1))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}] is not finite: {array[bad[0]].tolist()}")
    return array
