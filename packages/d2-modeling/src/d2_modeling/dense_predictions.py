"""Predictions for every anchor of every pixel: their layout and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d2_ops import batched_nms
from d2_structures import Boxes, Instances

from .box_regression import BoxTransform


def per_anchor(predictions: Tensor, size: int) -> Tensor:
    """(N, A * size, H, W) predictions of convolutions to (N, H * W * A, size)."""
    by_anchor = predictions.unflatten(1, (-1, size)).permute(0, 3, 4, 1, 2)
    return by_anchor.flatten(1, 3)


def best_boxes_of_level(
    anchors: Boxes,
    scores: Tensor,
    deltas: Tensor,
    *,
    box2box_transform: BoxTransform,
    score_thresh: float,
    topk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode the best-scored pairs of anchor and class of one image and feature map.

    Args:
        anchors: R anchors.
        scores: (R, K) probabilities.
        deltas: (R, 4).
        box2box_transform: how the deltas are encoded.
        score_thresh: only higher scores count.
        topk: at most so many pairs are taken.

    Returns:
        (M, 4) boxes, (M,) scores by decreasing value, (M,) classes.
    """
    candidates = (scores > score_thresh).nonzero()
    candidate_scores = scores[candidates[:, 0], candidates[:, 1]]
    top_scores, order = candidate_scores.topk(min(topk, len(candidates)))
    anchor_idx, classes = candidates[order].unbind(dim=1)
    boxes = box2box_transform.apply_deltas(deltas[anchor_idx], anchors.tensor[anchor_idx])
    return boxes, top_scores, classes


def detections_of_levels(
    levels: Sequence[tuple[Tensor, Tensor, Tensor]],
    image_size: tuple[int, int],
    *,
    nms_thresh: float,
    max_detections: int,
) -> Instances:
    """Join the boxes of all feature maps and suppress repetitions within each class.

    Args:
        levels: for each feature map what `best_boxes_of_level` returned.
        image_size: (height, width).
        nms_thresh: IoU above which the lower-scoring box of a class is dropped.
        max_detections: number of boxes kept.

    Returns:
        ``pred_boxes``, ``scores`` and ``pred_classes`` by decreasing score. Boxes are not
        clipped.
    """
    boxes, scores, classes = (torch.cat(parts) for parts in zip(*levels, strict=True))
    keep = batched_nms(boxes, scores, classes, nms_thresh)[:max_detections]
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
    )


def detect_in_image(
    anchors: Sequence[Boxes],
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    image_size: tuple[int, int],
    *,
    box2box_transform: BoxTransform,
    score_thresh: float,
    topk: int,
    nms_thresh: float,
    max_detections: int,
) -> Instances:
    """Detections of one image: `best_boxes_of_level` of each feature map, joined.

    Args:
        anchors: R_l anchors of each level.
        scores: (R_l, K) probabilities for each level.
        deltas: (R_l, 4) for each level.
        image_size: (height, width).
        box2box_transform: how the deltas are encoded.
        score_thresh: only higher scores count.
        topk: at most so many pairs of anchor and class are taken per level.
        nms_thresh: see `detections_of_levels`.
        max_detections: see `detections_of_levels`.
    """
    levels = [
        best_boxes_of_level(
            *predictions,
            box2box_transform=box2box_transform,
            score_thresh=score_thresh,
            topk=topk,
        )
        for predictions in zip(anchors, scores, deltas, strict=True)
    ]
    return detections_of_levels(
        levels, image_size, nms_thresh=nms_thresh, max_detections=max_detections
    )
