"""How boxes overlap and where points lie in them: all pairs, or pair by pair."""

import torch
from torch import Tensor

import d2_ops

from .boxes import Boxes

__all__ = [
    "matched_boxlist_iou",
    "matched_pairwise_iou",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Areas of overlap between all pairs.

    Args:
        boxes1: N boxes.
        boxes2: M boxes.

    Returns:
        (N, M) areas in square pixels, 0 where the boxes do not meet. Differentiable.
    """
    corners1, corners2 = _corners(boxes1, "boxes1"), _corners(boxes2, "boxes2")
    left1, top1, right1, bottom1 = corners1.unsqueeze(1).unbind(dim=2)
    left2, top2, right2, bottom2 = corners2.t().contiguous().unbind(dim=0)
    width = (torch.min(right1, right2) - torch.max(left1, left2)).clamp_(min=0)
    height = (torch.min(bottom1, bottom2) - torch.max(top1, top2)).clamp_(min=0)
    return width * height


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Intersection over union between all pairs of boxes.

    Args:
        boxes1: N boxes.
        boxes2: M boxes.

    Returns:
        (N, M) in [0, 1]; 0 where the boxes do not meet, also for boxes without area.
    """
    return d2_ops.pairwise_iou(_corners(boxes1, "boxes1"), _corners(boxes2, "boxes2"))


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Intersection over the area of ``boxes2``, between all pairs of boxes.

    Args:
        boxes1: N boxes.
        boxes2: M boxes.

    Returns:
        (N, M) in [0, 1]: how much of each of ``boxes2`` each of ``boxes1`` covers.
    """
    return d2_ops.pairwise_ioa(_corners(boxes1, "boxes1"), _corners(boxes2, "boxes2"))


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Intersection over union of the i-th box of one list with the i-th of the other.

    Args:
        boxes1: N boxes.
        boxes2: N boxes.

    Returns:
        (N,) in [0, 1]; 0 where the boxes do not meet.

    Raises:
        ValueError: if the lengths differ.
    """
    box1, box2 = _corners(boxes1, "boxes1"), _corners(boxes2, "boxes2")
    # Not `len`, which an export would take for a constant.
    if box1.shape[0] != box2.shape[0]:
        raise ValueError(
            "matched_pairwise_iou needs lists of the same length, got "
            f"{box1.shape[0]} and {box2.shape[0]} boxes"
        )
    top_left = torch.max(box1[:, :2], box2[:, :2])
    bottom_right = torch.min(box1[:, 2:], box2[:, 2:])
    size = (bottom_right - top_left).clamp(min=0)
    intersection = size[:, 0] * size[:, 1]
    union = boxes1.area() + boxes2.area() - intersection
    # Smaller than any real area, large enough to divide by: 0 / 0 becomes 0 with a gradient of 0.
    return intersection / union.clamp(min=1e-30)


def matched_boxlist_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """An older name of `matched_pairwise_iou`."""
    return matched_pairwise_iou(boxes1, boxes2)


def pairwise_point_box_distance(points: Tensor, boxes: Boxes) -> Tensor:
    """Signed distances from points to the four sides of boxes, as FCOS regresses them.

    Args:
        points: (N, 2) of (x, y) in pixels.
        boxes: M boxes.

    Returns:
        (N, M, 4) distances in pixels to the left, top, right and bottom side, in that order; all
        four are positive exactly when the point lies inside the box.

    Raises:
        ValueError: if ``points`` is not (N, 2).
    """
    if points.dim() != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (N, 2), got {list(points.shape)}")
    x, y = points.unsqueeze(dim=2).unbind(dim=1)
    x1, y1, x2, y2 = _corners(boxes, "boxes").unsqueeze(0).unbind(dim=2)
    return torch.stack([x - x1, y - y1, x2 - x, y2 - y], dim=2)


def _corners(boxes: Boxes, name: str) -> Tensor:
    """The (N, 4) corners of axis-aligned boxes; also compiled by TorchScript.

    Raises:
        TypeError: for anything but `Boxes`.
        ValueError: for rotated boxes.
    """
    if not torch.jit.is_scripting() and not isinstance(boxes, Boxes):
        raise TypeError(f"{name} must be Boxes, got {type(boxes).__name__}")
    if not torch.jit.is_tracing() and boxes.tensor.shape[1] != 4:
        raise ValueError(
            f"{name} must be axis-aligned, with a tensor of shape (N, 4), got "
            f"{list(boxes.tensor.shape)}"
        )
    return boxes.tensor
