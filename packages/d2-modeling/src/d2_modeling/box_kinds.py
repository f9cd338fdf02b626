"""What goes with axis-aligned boxes, and what with rotated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from d2_ops import (
    batched_nms,
    batched_nms_of_all,
    batched_nms_rotated,
    batched_nms_rotated_of_all,
)
from d2_structures import Boxes, RotatedBoxes, pairwise_iou, pairwise_iou_rotated

# Boxes turned by at most so many degrees are clipped; what is left of others is no rectangle.
_STRAIGHT_DEG = 1.0


class BoxKind(NamedTuple):
    """What is done with a kind of boxes."""

    boxes: type[Boxes]
    """Their structure."""
    pairwise_iou: Callable[[Boxes, Boxes], Tensor]
    """(M, N) overlaps of M boxes with N boxes."""
    batched_nms: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    """Suppression within categories."""
    batched_nms_of_all: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    """The same as the order of all boxes and a mark on each."""
    sides: Callable[[Tensor], Tensor]
    """(P, 2) width and height."""
    clipped: Callable[[Tensor, Tensor], Tensor]
    """Boxes within (P, 2) widths and heights of images."""


def box_kind(box_dim: int) -> BoxKind:
    """The kind of boxes that have 4 (XYXY) or 5 (centre, size, angle) values.

    Raises:
        ValueError: for another number.
    """
    if box_dim == 4:
        return _STRAIGHT
    if box_dim == 5:
        return _ROTATED
    raise ValueError(f"boxes have 4 values or, if rotated, 5; got {box_dim}")


def _straight_sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:4] - boxes[:, :2]


def _rotated_sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:4]


def _clipped_straight(boxes: Tensor, width_height: Tensor) -> Tensor:
    bounds = torch.cat([width_height, width_height], dim=1)
    return torch.minimum(boxes.clamp(min=0), bounds)


def _clipped_rotated(boxes: Tensor, width_height: Tensor) -> Tensor:
    centres, sides, angles = boxes.split([2, 2, 1], dim=1)
    angles = (angles + 180.0) % 360.0 - 180.0
    low = torch.minimum((centres - sides / 2).clamp(min=0), width_height)
    high = torch.minimum((centres + sides / 2).clamp(min=0), width_height)
    # Rounding must not make a side longer.
    clipped = torch.cat([(low + high) / 2, torch.minimum(high - low, sides), angles], dim=1)
    turned = torch.cat([centres, sides, angles], dim=1)
    return torch.where(angles.abs() <= _STRAIGHT_DEG, clipped, turned)


_STRAIGHT = BoxKind(
    Boxes, pairwise_iou, batched_nms, batched_nms_of_all, _straight_sides, _clipped_straight
)
_ROTATED = BoxKind(
    RotatedBoxes,
    pairwise_iou_rotated,  # type: ignore[arg-type]  # of the same kind on both sides
    batched_nms_rotated,
    batched_nms_rotated_of_all,
    _rotated_sides,
    _clipped_rotated,
)
