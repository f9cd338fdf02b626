"""Overlaps of rotated boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from ._arguments import check_columns, check_device, check_floating, describe
from ._library import operators, qualified

_ops = operators()


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of all pairs of rotated boxes.

    Computed in float64 by an expression without special cases, so identical, touching and nearly
    parallel boxes are as exact as others; whole quarter turns are exact, and disjoint boxes give
    exactly 0. Autocast changes nothing.

    Args:
        boxes1: (N, 5) floating, centre x, centre y, width, height in pixels, and angle in degrees
            counter-clockwise: the box (0, 0, 4, 2, 90) covers [-1, 1] x [-2, 2].
        boxes2: (M, 5) of the same dtype.

    Returns:
        (N, M) values from 0 to 1 in the dtype of the boxes. A box whose width or height is not
        positive overlaps nothing, a box that is not finite gives NaN. Not differentiable.

    Raises:
        TypeError: if an argument is not a floating tensor, or the dtypes differ.
        ValueError: if a shape is wrong or the devices differ.
    """
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        check_floating(name, boxes)
        check_columns(name, boxes, 5)
    if boxes1.dtype != boxes2.dtype:
        raise TypeError(
            f"boxes2 must have the dtype of boxes1, {boxes1.dtype}, got {describe(boxes2)}"
        )
    check_device("boxes2", boxes2, "boxes1", boxes1)
    iou: Tensor = _ops.box_iou_rotated(boxes1.detach(), boxes2.detach())
    return iou


@torch.library.register_fake(qualified("box_iou_rotated"))
def _(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    return boxes1.new_empty((boxes1.shape[0], boxes2.shape[0]))
