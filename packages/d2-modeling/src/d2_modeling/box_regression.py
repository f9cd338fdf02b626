"""Encoding of boxes as offsets from other boxes, and the losses on them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from d2_ops import decode_boxes, decode_rotated_boxes
from d2_structures import Boxes

from .host_waits import numbers_on
from .layers import cat
from .losses import ciou_loss, diou_loss, giou_loss, smooth_l1_loss, summed_where

_SCALE_CLAMP = math.log(1000.0 / 16)
_IOU_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


class BoxTransform(Protocol):
    """Anything that encodes boxes as deltas from other boxes."""

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor: ...

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor: ...


class Box2BoxTransform:
    """Deltas (dx, dy, dw, dh): centre shift over size, and logarithm of the size ratio.

    Args:
        weights: factors on the four deltas, chosen so that they have about unit variance.
        scale_clamp: upper bound of dw and dh when boxes are decoded, so that an
            untrained network's output does not overflow.

    Source: Girshick et al., "Rich feature hierarchies", 2014, appendix C.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = _SCALE_CLAMP) -> None:
        if len(weights) != 4:
            raise ValueError(f"weights wants 4 numbers (dx, dy, dw, dh), got {list(weights)}")
        self.weights = tuple(weights)
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Deltas that turn ``src_boxes`` into ``target_boxes``.

        Args:
            src_boxes: (N, 4) XYXY of positive width and height, e.g. proposals.
            target_boxes: (N, 4) XYXY, e.g. ground truth.

        Returns:
            (N, 4) deltas.

        Raises:
            ValueError: if a source box is empty (checked on the CPU only, where looking
                at the values costs no wait).
        """
        src_size, src_centre = _size_and_centre(src_boxes)
        target_size, target_centre = _size_and_centre(target_boxes)
        _check_positive_size(src_size, src_boxes)
        deltas = torch.cat(
            [(target_centre - src_centre) / src_size, torch.log(target_size / src_size)], dim=1
        )
        return deltas * numbers_on(deltas.device, self.weights, deltas.dtype)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode deltas to boxes.

        Args:
            deltas: (N, K * 4); row i holds K transformations of ``boxes[i]``.
            boxes: (N, 4) XYXY.

        Returns:
            (N, K * 4) float32 XYXY (float64 if ``deltas`` is), unclipped.
        """
        return decode_boxes(deltas, boxes, self.weights, self.scale_clamp)


def _size_and_centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2]
    return size, boxes[:, :2] + 0.5 * size


class Box2BoxTransformRotated:
    """Deltas (dx, dy, dw, dh, da) of rotated boxes: as in `Box2BoxTransform`, and a turn.

    The shift is along the image's axes, in units of the source's width and height; da is in
    radians, though the angles of boxes are in degrees.

    Args:
        weights: factors on the five deltas.
        scale_clamp: upper bound of dw and dh when boxes are decoded.

    Source: Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation Proposals", 2018,
    section III-D.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = _SCALE_CLAMP) -> None:
        if len(weights) != 5:
            raise ValueError(f"weights wants 5 numbers (dx, dy, dw, dh, da), got {list(weights)}")
        self.weights = tuple(weights)
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Deltas that turn ``src_boxes`` into ``target_boxes``, the short way round.

        Args:
            src_boxes: (N, 5) of positive width and height, e.g. proposals.
            target_boxes: (N, 5), e.g. ground truth.

        Returns:
            (N, 5) deltas.

        Raises:
            ValueError: if a source box is empty (checked on the CPU only, where looking
                at the values costs no wait).
        """
        src_centre, src_size, src_angle = src_boxes.split([2, 2, 1], dim=1)
        centre, size, angle = target_boxes.split([2, 2, 1], dim=1)
        _check_positive_size(src_size, src_boxes)
        deltas = torch.cat(
            [
                (centre - src_centre) / src_size,
                torch.log(size / src_size),
                _shortest_turn(angle - src_angle).deg2rad(),
            ],
            dim=1,
        )
        return deltas * numbers_on(deltas.device, self.weights, deltas.dtype)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode deltas to boxes.

        Args:
            deltas: (N, K * 5); row i holds K transformations of ``boxes[i]``.
            boxes: (N, 5).

        Returns:
            (N, K * 5) float32 boxes (float64 if ``deltas`` is), unclipped, of angles in
            [-180, 180).
        """
        return decode_rotated_boxes(deltas, boxes, self.weights, self.scale_clamp)


class Box2BoxTransformLinear:
    """Deltas (left, top, right, bottom): distances of the source's centre to the sides.

    Args:
        normalize_by_size: divide distances by the source's width and height.

    Source: Tian et al., "FCOS", 2019, equation 1.
    """

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Deltas that turn ``src_boxes`` into ``target_boxes``.

        Args:
            src_boxes: (N, 4) XYXY, e.g. anchors.
            target_boxes: (N, 4) XYXY; a centre outside gives negative distances.

        Returns:
            (N, 4) deltas.
        """
        size, centre = _size_and_centre(src_boxes)
        deltas = torch.cat([centre - target_boxes[:, :2], target_boxes[:, 2:] - centre], dim=1)
        return deltas / torch.cat([size, size], dim=1) if self.normalize_by_size else deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode deltas to boxes; negative ones count as 0.

        Args:
            deltas: (N, K * 4); row i holds K transformations of ``boxes[i]``.
            boxes: (N, 4) XYXY.

        Returns:
            (N, K * 4) float32 XYXY (float64 if ``deltas`` is), unclipped.
        """
        deltas = deltas if deltas.dtype == torch.float64 else deltas.float()
        size, centre = _size_and_centre(boxes.to(deltas.dtype))
        distances = deltas.unflatten(1, (-1, 4)).relu()
        if self.normalize_by_size:
            distances = distances * torch.cat([size, size], dim=1)[:, None]
        low, high = distances.split(2, dim=2)
        return torch.cat([centre[:, None] - low, centre[:, None] + high], dim=2).reshape(
            deltas.shape
        )


def _check_positive_size(size: Tensor, boxes: Tensor) -> None:
    if size.device.type == "cpu" and bool((size <= 0).any()):
        bad = int((size <= 0).any(dim=1).nonzero()[0])
        raise ValueError(
            "boxes to encode deltas from need positive width and height; "
            f"box {bad} is {boxes[bad].tolist()}"
        )


def _shortest_turn(degrees: Tensor) -> Tensor:
    """The same angle within [-180, 180)."""
    return (degrees + 180.0) % 360.0 - 180.0


def box_regression_loss(
    reference_boxes: Tensor,
    pred_deltas: Tensor,
    gt_boxes: Tensor,
    *,
    box2box_transform: BoxTransform,
    box_reg_loss_type: str,
    smooth_l1_beta: float,
    reduction: Literal["none", "sum"] = "sum",
) -> Tensor:
    """Regression loss of boxes that are already paired with their ground truth.

    Args:
        reference_boxes: (N, B) boxes that the deltas refer to.
        pred_deltas: (N, B) predicted deltas.
        gt_boxes: (N, B) ground truth of each.
        box2box_transform: the encoding.
        box_reg_loss_type: ``"smooth_l1"`` on deltas, or ``"giou"``, ``"diou"``, ``"ciou"``
            on decoded boxes.
        smooth_l1_beta: where smooth L1 turns linear.
        reduction: ``"sum"``, or ``"none"`` for (N, B) of deltas or (N,) of boxes.

    Raises:
        ValueError: if the loss type is unknown.
    """
    if box_reg_loss_type == "smooth_l1":
        target = box2box_transform.get_deltas(reference_boxes, gt_boxes)
        return smooth_l1_loss(pred_deltas, target, beta=smooth_l1_beta, reduction=reduction)
    if box_reg_loss_type not in _IOU_LOSSES:
        known = ["smooth_l1", *_IOU_LOSSES]
        close = difflib.get_close_matches(str(box_reg_loss_type), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown box_reg_loss_type {box_reg_loss_type!r}{hint} Known: {known}")
    decoded = box2box_transform.apply_deltas(pred_deltas, reference_boxes)
    return _IOU_LOSSES[box_reg_loss_type](decoded, gt_boxes, reduction=reduction)


def dense_box_regression_loss(
    anchors: Sequence[Boxes],
    box2box_transform: BoxTransform,
    pred_anchor_deltas: Sequence[Tensor],
    gt_boxes: Sequence[Tensor],
    fg_mask: Tensor,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """Summed regression loss over the foreground anchors of all images and levels.

    Args:
        anchors: for each level its R_l anchors.
        box2box_transform: the encoding.
        pred_anchor_deltas: for each level (N, R_l, B).
        gt_boxes: for each of the N images (R, B), the ground truth of each anchor.
        fg_mask: (N, R) bool, which anchors count.
        box_reg_loss_type: see `box_regression_loss`.
        smooth_l1_beta: see `box_regression_loss`.
    """
    all_anchors = cat([level.tensor for level in anchors])
    loss = partial(
        box_regression_loss,
        box2box_transform=box2box_transform,
        box_reg_loss_type=box_reg_loss_type,
        smooth_l1_beta=smooth_l1_beta,
    )
    targets = torch.stack(list(gt_boxes))
    deltas = cat(list(pred_anchor_deltas), dim=1)
    return summed_where(fg_mask, loss, all_anchors.expand_as(targets), deltas, targets)
