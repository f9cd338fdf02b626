"""Overlaps of all pairs of axis-aligned boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._arguments import check_columns, check_device, check_floating, describe
from ._library import operators, qualified

_ops = operators()


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of all pairs of boxes.

    Args:
        boxes1: (N, 4) floating, x1, y1, x2, y2 in pixels.
        boxes2: (M, 4) of the same dtype.

    Returns:
        (N, M) values from 0 to 1 in the dtype of the boxes, also under autocast; 0 where two
        boxes do not meet, also for boxes without area, NaN for a box with NaN. float16 and
        bfloat16 are computed in float32. Differentiable, any number of times.

    Raises:
        TypeError: if an argument is not a floating tensor, or the dtypes differ.
        ValueError: if a shape is wrong or the devices differ.
    """
    if not torch.jit.is_scripting():
        _check(boxes1, boxes2)
    iou: Tensor = _ops.pairwise_iou(boxes1, boxes2)
    return iou


def pairwise_ioa(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over the area of ``boxes2``: how much of each of them the others cover.

    Arguments, errors and other properties are those of ``pairwise_iou``.
    """
    if not torch.jit.is_scripting():
        _check(boxes1, boxes2)
    ioa: Tensor = _ops.pairwise_ioa(boxes1, boxes2)
    return ioa


def pairwise_giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalised IoU of all pairs: IoU minus the unused share of the smallest box around both.

    Values are from -1 to 1, and negative for boxes far apart. Arguments, errors and other
    properties are those of ``pairwise_iou``.

    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019.
    """
    if not torch.jit.is_scripting():
        _check(boxes1, boxes2)
    giou: Tensor = _ops.pairwise_giou(boxes1, boxes2)
    return giou


def _check(boxes1: Tensor, boxes2: Tensor) -> None:
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        check_floating(name, boxes)
        check_columns(name, boxes, 4)
    if boxes1.dtype != boxes2.dtype:
        raise TypeError(
            f"boxes2 must have the dtype of boxes1, {boxes1.dtype}, got {describe(boxes2)}"
        )
    check_device("boxes2", boxes2, "boxes1", boxes1)


def _fake(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    return boxes1.new_empty((boxes1.shape[0], boxes2.shape[0]))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


# Derivatives are written in torch, so they can be derived and compiled in turn. Two equal sides
# share the gradient of the inner or outer one, as torch.maximum has it.


def _iou_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    pair = _Pairs(*ctx.saved_tensors)
    union = pair.area1 + pair.area2 - pair.shared
    by_shared, by_union = _share_backward(grad, pair.shared, union)
    return pair.backward(by_shared - by_union, by_union, by_union)


def _ioa_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    pair = _Pairs(*ctx.saved_tensors)
    by_shared, by_area2 = _share_backward(grad, pair.shared, pair.area2.expand_as(grad))
    return pair.backward(by_shared, torch.zeros_like(by_area2), by_area2)


def _giou_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    pair = _Pairs(*ctx.saved_tensors)
    union = pair.area1 + pair.area2 - pair.shared
    around = pair.hull_width * pair.hull_height
    by_shared, by_union = _share_backward(grad, pair.shared, union)
    by_unused, by_around = _share_backward(-grad, around - union, around)
    by_union = by_union - by_unused
    return pair.backward(by_shared - by_union, by_union, by_union, by_around + by_unused)


def _share_backward(grad: Tensor, part: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of part / whole by the two, where there is a whole."""
    some = whole > 0
    divisor = torch.where(some, whole, 1)
    by_part = grad / divisor
    return by_part, torch.where(some, -by_part * part / divisor, 0)


class _Pairs:
    """The lengths and areas that overlaps are made of, and their derivatives."""

    def __init__(self, boxes1: Tensor, boxes2: Tensor) -> None:
        self.dtype = boxes1.dtype
        wide = boxes1.dtype if boxes1.dtype == torch.float64 else torch.float32
        boxes1, boxes2 = boxes1.to(wide), boxes2.to(wide)
        self.low1, self.high1 = boxes1[:, None, :2], boxes1[:, None, 2:]
        self.low2, self.high2 = boxes2[None, :, :2], boxes2[None, :, 2:]
        gap = torch.minimum(self.high1, self.high2) - torch.maximum(self.low1, self.low2)
        hull = torch.maximum(self.high1, self.high2) - torch.minimum(self.low1, self.low2)
        self.meet, self.span = gap > 0, hull > 0
        self.width, self.height = torch.where(self.meet, gap, 0).unbind(2)
        self.hull_width, self.hull_height = torch.where(self.span, hull, 0).unbind(2)
        self.sides1, self.sides2 = self.high1 - self.low1, self.high2 - self.low2
        self.area1, self.area2 = self.sides1.prod(2), self.sides2.prod(2)
        self.shared = self.width * self.height

    def backward(
        self, by_shared: Tensor, by_area1: Tensor, by_area2: Tensor, by_around: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the boxes from (N, M) gradients of areas."""
        by_gap = torch.stack([self.height, self.width], 2) * by_shared[..., None] * self.meet
        below = _preference(self.high1, self.high2)  # how much box 1 decides the nearer end
        above = _preference(self.low2, self.low1)
        ends1, starts1 = below * by_gap, -above * by_gap
        ends2, starts2 = by_gap - ends1, -by_gap - starts1
        if by_around is not None:
            sides = torch.stack([self.hull_height, self.hull_width], 2)
            by_hull = sides * by_around[..., None] * self.span
            ends1, ends2 = ends1 + (1 - below) * by_hull, ends2 + below * by_hull
            starts1, starts2 = starts1 - (1 - above) * by_hull, starts2 - above * by_hull
        from_area1 = self.sides1.flip(2) * by_area1[..., None]
        from_area2 = self.sides2.flip(2) * by_area2[..., None]
        grad1 = torch.cat([starts1 - from_area1, ends1 + from_area1], 2).sum(1)
        grad2 = torch.cat([starts2 - from_area2, ends2 + from_area2], 2).sum(0)
        return grad1.to(self.dtype), grad2.to(self.dtype)


def _preference(a: Tensor, b: Tensor) -> Tensor:
    """1 where a < b, 0 where a > b, a half where they are equal."""
    return ((b - a).sign() + 1) / 2


for _name, _derivative in (
    ("pairwise_iou", _iou_backward),
    ("pairwise_ioa", _ioa_backward),
    ("pairwise_giou", _giou_backward),
):
    torch.library.register_fake(qualified(_name), _fake)
    torch.library.register_autograd(qualified(_name), _derivative, setup_context=_save_for_backward)
