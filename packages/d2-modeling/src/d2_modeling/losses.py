"""Box regression losses, and the factors on losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Reduction = Literal["none", "mean", "sum"]


def smooth_l1_loss(
    input: Tensor, target: Tensor, beta: float, reduction: Reduction = "none"
) -> Tensor:
    """Quadratic below ``beta``, linear above; plain L1 for a beta below 1e-5.

    Args:
        input: any shape.
        target: the same shape.
        beta: where the two parts meet, >= 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``. The mean of nothing is 0.

    Source: Girshick, "Fast R-CNN", 2015, equation 3.
    """
    if beta < 1e-5:
        loss = torch.abs(input - target)
    else:
        distance = torch.abs(input - target)
        loss = torch.where(distance < beta, 0.5 * distance.square() / beta, distance - 0.5 * beta)
    return _reduce(loss, reduction)


def giou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """One minus the generalised IoU of paired boxes.

    Args:
        boxes1: (N, 4) XYXY with x2 >= x1 and y2 >= y1.
        boxes2: (N, 4) XYXY.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        eps: added to denominators.

    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019.
    """
    iou, union = _paired_iou(boxes1, boxes2, eps)
    width, height = _enclosing_size(boxes1, boxes2)
    enclosing = width * height
    return _reduce(1 - (iou - (enclosing - union) / (enclosing + eps)), reduction)


def diou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """One minus the IoU, plus the centre distance over the enclosing box's diagonal.

    Arguments as in `giou_loss`.

    Source: Zheng et al., "Distance-IoU Loss", 2020.
    """
    return _reduce(_diou_terms(boxes1, boxes2, eps)[0], reduction)


def ciou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """The `diou_loss` plus a penalty on differing aspect ratios.

    Arguments as in `giou_loss`.

    Source: Zheng et al., "Distance-IoU Loss", 2020, section "Complete IoU".
    """
    diou, iou = _diou_terms(boxes1, boxes2, eps)
    angle1 = torch.atan((boxes1[:, 2] - boxes1[:, 0]) / (boxes1[:, 3] - boxes1[:, 1]))
    angle2 = torch.atan((boxes2[:, 2] - boxes2[:, 0]) / (boxes2[:, 3] - boxes2[:, 1]))
    difference = (4 / math.pi**2) * (angle2 - angle1).square()
    with torch.no_grad():
        trade_off = difference / (1 - iou + difference + eps)
    return _reduce(diou + trade_off * difference, reduction)


def loss_weights(weight: float | Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """One factor per loss, out of one for all or a mapping by name.

    Raises:
        ValueError: if the mapping names a loss that does not exist.
    """
    if not isinstance(weight, Mapping):
        return dict.fromkeys(names, float(weight))
    unknown = set(weight) - set(names)
    if unknown:
        raise ValueError(f"loss_weight names {sorted(unknown)}; the losses are {list(names)}")
    return {str(name): float(value) for name, value in weight.items()}


def _diou_terms(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    iou, _ = _paired_iou(boxes1, boxes2, eps)
    width, height = _enclosing_size(boxes1, boxes2)
    diagonal = width.square() + height.square() + eps
    centre_offset = (boxes1[:, :2] + boxes1[:, 2:] - boxes2[:, :2] - boxes2[:, 2:]) / 2
    return 1 - iou + centre_offset.square().sum(dim=1) / diagonal, iou


def _paired_iou(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    top_left = torch.maximum(boxes1[:, :2], boxes2[:, :2])
    bottom_right = torch.minimum(boxes1[:, 2:], boxes2[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=1)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(dim=1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(dim=1)
    union = area1 + area2 - intersection
    return intersection / (union + eps), union


def _enclosing_size(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    size = torch.maximum(boxes1[:, 2:], boxes2[:, 2:]) - torch.minimum(boxes1[:, :2], boxes2[:, :2])
    return size[:, 0], size[:, 1]


def _reduce(loss: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "mean":
        return loss.mean() if loss.numel() > 0 else 0.0 * loss.sum()
    return loss.sum() if reduction == "sum" else loss
