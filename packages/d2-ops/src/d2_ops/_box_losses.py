"""Losses on paired boxes, and on regressed numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._arguments import check_device, check_floating, describe
from ._reduction import Reduction, check_reduction, reduced


def giou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """One minus the generalised IoU of paired boxes: 0 for equal ones, towards 2 far apart.

    Args:
        boxes1: (N, 4) or (4,) floating, x1, y1, x2, y2 with x2 >= x1 and y2 >= y1.
        boxes2: the same shape.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``. The mean of nothing is 0.
        eps: added to denominators.

    Returns:
        (N,) losses, or one number. float16 and bfloat16 boxes give float32. Differentiable.

    Raises:
        TypeError: if the boxes are not floating tensors.
        ValueError: if shapes or devices disagree, or the reduction is unknown.

    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019.
    """
    boxes1, boxes2 = _checked_pairs(boxes1, boxes2, reduction)
    iou, union = _iou_and_union(boxes1, boxes2, eps)
    hull = _hull_sides(boxes1, boxes2).prod(-1)
    return reduced(1 - iou + (hull - union) / (hull + eps), reduction)


def diou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """One minus IoU, plus the distance of centres over the diagonal around both, squared.

    Arguments, results and errors are those of ``giou_loss``.

    Source: Zheng et al., "Distance-IoU Loss", 2020.
    """
    boxes1, boxes2 = _checked_pairs(boxes1, boxes2, reduction)
    return reduced(_distance_loss(boxes1, boxes2, eps)[0], reduction)


def ciou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """The ``diou_loss`` plus a penalty on differing aspect ratios.

    The factor on the penalty, which weighs it against IoU, counts as a constant. Arguments,
    results and errors are those of ``giou_loss``.

    Source: Zheng et al., "Distance-IoU Loss", 2020, section "Complete IoU".
    """
    boxes1, boxes2 = _checked_pairs(boxes1, boxes2, reduction)
    loss, iou = _distance_loss(boxes1, boxes2, eps)
    angle1, angle2 = (_diagonal_angle(boxes) for boxes in (boxes1, boxes2))
    difference = (4 / math.pi**2) * (angle2 - angle1).square()
    with torch.no_grad():
        factor = difference / (1 - iou + difference + eps)
    return reduced(loss + factor * difference, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, beta: float, reduction: Reduction = "none"
) -> Tensor:
    """Quadratic up to ``beta``, linear beyond; exactly L1 for a beta below 1e-5.

    Args:
        input: floating, of any shape.
        target: the same shape.
        beta: where the two parts meet, >= 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``. The mean of nothing is 0.

    Returns:
        Losses in the shape of ``input``, or one number. Differentiable.

    Raises:
        TypeError: if an argument is not a floating tensor.
        ValueError: if shapes or devices disagree, ``beta`` is negative, or the reduction is
            unknown.

    Source: Girshick, "Fast R-CNN", 2015, equation 3.
    """
    _check_alike("input", input, "target", target)
    check_reduction(reduction)
    if not beta >= 0:
        raise ValueError(f"beta must not be negative, got {beta}")
    distance = torch.abs(input - target)
    if beta < 1e-5:  # dividing by it would overflow
        return reduced(distance, reduction)
    quadratic = 0.5 * distance.square() / beta
    return reduced(torch.where(distance < beta, quadratic, distance - 0.5 * beta), reduction)


def _check_alike(name1: str, value1: Tensor, name2: str, value2: Tensor) -> None:
    check_floating(name1, value1)
    check_floating(name2, value2)
    if value1.shape != value2.shape:
        raise ValueError(
            f"{name2} must have the shape of {name1}, {tuple(value1.shape)}, got {describe(value2)}"
        )
    check_device(name2, value2, name1, value1)


def _checked_pairs(boxes1: Tensor, boxes2: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """The boxes in at least single precision: areas overflow half precision."""
    _check_alike("boxes1", boxes1, "boxes2", boxes2)
    if boxes1.dim() not in (1, 2) or boxes1.shape[-1] != 4:
        raise ValueError(f"boxes1 must have shape (N, 4) or (4,), got {describe(boxes1)}")
    check_reduction(reduction)
    wide = torch.promote_types(torch.promote_types(boxes1.dtype, boxes2.dtype), torch.float32)
    return boxes1.to(wide), boxes2.to(wide)


def _sides(boxes: Tensor) -> Tensor:
    return boxes[..., 2:] - boxes[..., :2]


def _iou_and_union(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    low = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    high = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = _sides(boxes1).prod(-1) + _sides(boxes2).prod(-1) - shared
    return shared / (union + eps), union


def _hull_sides(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    low = torch.minimum(boxes1[..., :2], boxes2[..., :2])
    return torch.maximum(boxes1[..., 2:], boxes2[..., 2:]) - low


def _distance_loss(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    iou, _ = _iou_and_union(boxes1, boxes2, eps)
    diagonal = _hull_sides(boxes1, boxes2).square().sum(-1) + eps
    offset = (boxes1[..., :2] + boxes1[..., 2:] - boxes2[..., :2] - boxes2[..., 2:]) / 2
    return 1 - iou + offset.square().sum(-1) / diagonal, iou


def _diagonal_angle(boxes: Tensor) -> Tensor:
    width, height = _sides(boxes).unbind(-1)
    return torch.atan2(width, height)  # finite for boxes without height
