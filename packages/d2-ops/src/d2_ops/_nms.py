"""Non-maximum suppression of axis-aligned and of rotated boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._arguments import check_columns, check_floating, check_integers, check_rows
from ._library import operators, qualified

_ops = operators()


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keep the best of overlapping boxes.

    Boxes are visited by decreasing score; a box is dropped when its IoU with a box already kept
    is greater than ``iou_threshold``. Equal scores are visited in input order, NaN scores first.
    Boxes with NaN or infinite coordinates, and pairs of empty boxes, have no IoU: they neither
    drop others nor are dropped. float16 and bfloat16 are computed in float32; autocast changes
    nothing.

    Args:
        boxes: (N, 4) floating, x1, y1, x2, y2 in pixels.
        scores: (N,) floating, of any precision.
        iou_threshold: boxes that overlap more are dropped.

    Returns:
        (K,) int64 indices of the kept boxes by decreasing score. N == 0 gives an empty tensor.

    Raises:
        TypeError: if an argument is not a floating tensor.
        ValueError: if shapes or devices disagree, or the threshold is NaN.
    """
    kept: Tensor = _suppress("nms", 4, boxes, scores, iou_threshold)
    return kept


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Like ``nms``, but boxes of different classes do not affect each other.

    Classes are compared as such. Nothing is added to the coordinates, so large images and small
    float types lose nothing.

    Args:
        boxes: (N, 4) floating, x1, y1, x2, y2 in pixels.
        scores: (N,) floating, of any precision.
        idxs: (N,) integer class (or level, or image) of each box, of any value.
        iou_threshold: boxes of one class that overlap more are dropped.

    Returns:
        (K,) int64 indices of the kept boxes by decreasing score over all classes.

    Raises:
        TypeError: if boxes or scores are not floating tensors, or idxs not an integer tensor.
        ValueError: if shapes or devices disagree, or the threshold is NaN.
    """
    kept: Tensor = _suppress("batched_nms", 4, boxes, scores, iou_threshold, idxs)
    return kept


def batched_nms_of_all(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    """What ``batched_nms`` says of every box: results whose size depends on no value.

    On CUDA the host does not wait for it.

    Args:
        boxes: see ``batched_nms``, as the other arguments.
        scores: see there.
        idxs: see there.
        iou_threshold: see there.

    Returns:
        (N,) int64 indices of all boxes by decreasing score, and (N,) bool, whether each of them,
        in that order, is kept: ``batched_nms`` gives ``order[kept]``.

    Raises:
        TypeError: see ``batched_nms``.
        ValueError: see there.
    """
    order: Tensor
    kept: Tensor
    order, kept = _suppress("batched_nms_of_all", 4, boxes, scores, iou_threshold, idxs)
    return order, kept


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keep the best of overlapping rotated boxes.

    Like ``nms``, with the overlap of ``box_iou_rotated`` in float64. Only the area that a box
    covers counts: boxes whose angles differ by 180 degrees, or squares by 90, are equal here,
    whatever the orientation means to the caller. Boxes without area overlap nothing; boxes that
    are not finite neither drop others nor are dropped.

    Args:
        boxes: (N, 5) floating, centre x, centre y, width, height in pixels, and angle in degrees
            counter-clockwise.
        scores: (N,) floating, of any precision.
        iou_threshold: boxes that overlap more are dropped.

    Returns:
        (K,) int64 indices of the kept boxes by decreasing score. N == 0 gives an empty tensor.

    Raises:
        TypeError: if an argument is not a floating tensor.
        ValueError: if shapes or devices disagree, or the threshold is NaN.
    """
    kept: Tensor = _suppress("nms_rotated", 5, boxes, scores, iou_threshold)
    return kept


def batched_nms_rotated(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float
) -> Tensor:
    """Like ``nms_rotated``, but boxes of different classes do not affect each other.

    Args:
        boxes: (N, 5) floating, centre x, centre y, width, height in pixels, and angle in degrees
            counter-clockwise.
        scores: (N,) floating, of any precision.
        idxs: (N,) integer class (or level, or image) of each box, of any value.
        iou_threshold: boxes of one class that overlap more are dropped.

    Returns:
        (K,) int64 indices of the kept boxes by decreasing score over all classes.

    Raises:
        TypeError: if boxes or scores are not floating tensors, or idxs not an integer tensor.
        ValueError: if shapes or devices disagree, or the threshold is NaN.
    """
    kept: Tensor = _suppress("batched_nms_rotated", 5, boxes, scores, iou_threshold, idxs)
    return kept


def batched_nms_rotated_of_all(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    """``batched_nms_of_all`` for rotated boxes, as ``batched_nms_rotated`` takes them."""
    order: Tensor
    kept: Tensor
    order, kept = _suppress("batched_nms_rotated_of_all", 5, boxes, scores, iou_threshold, idxs)
    return order, kept


def _suppress(
    operator: str,
    columns: int,
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *idxs: Tensor,
) -> Any:
    """Check the arguments and call the operator; ``idxs`` are none, or the classes."""
    check_floating("boxes", boxes)
    check_floating("scores", scores)
    check_columns("boxes", boxes, columns)
    check_rows("scores", scores, boxes)
    if iou_threshold != iou_threshold:  # NaN; math.isnan cannot be traced
        raise ValueError("iou_threshold is NaN")
    for classes in idxs:
        check_integers("idxs", classes)
        check_rows("idxs", classes, boxes)
    classes_of_all = [classes.long() for classes in idxs]
    return getattr(_ops, operator)(boxes, scores, *classes_of_all, iou_threshold)


@torch.library.register_fake(qualified("nms"))
@torch.library.register_fake(qualified("nms_rotated"))
@torch.library.register_fake(qualified("batched_nms"))
@torch.library.register_fake(qualified("batched_nms_rotated"))
def _(boxes: Tensor, *_: object) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(),), dtype=torch.int64)


@torch.library.register_fake(qualified("batched_nms_of_all"))
@torch.library.register_fake(qualified("batched_nms_rotated_of_all"))
def _(boxes: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    size = boxes.shape[:1]
    return boxes.new_empty(size, dtype=torch.int64), boxes.new_empty(size, dtype=torch.bool)
