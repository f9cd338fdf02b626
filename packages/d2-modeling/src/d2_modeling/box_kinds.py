"""What goes with axis-aligned boxes, and what with rotated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from d2_ops import batched_nms, batched_nms_rotated
from d2_structures import Boxes, RotatedBoxes


class BoxKind(NamedTuple):
    """The structure of a kind of boxes, and its suppression within categories."""

    boxes: type[Boxes]
    batched_nms: Callable[[Tensor, Tensor, Tensor, float], Tensor]


def box_kind(box_dim: int) -> BoxKind:
    """The kind of boxes that have 4 (XYXY) or 5 (centre, size, angle) values.

    Raises:
        ValueError: for another number.
    """
    if box_dim == 4:
        return BoxKind(Boxes, batched_nms)
    if box_dim == 5:
        return BoxKind(RotatedBoxes, batched_nms_rotated)
    raise ValueError(f"boxes have 4 values or, if rotated, 5; got {box_dim}")
