"""Predictions for every anchor of every pixel: their layout and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..batched_selection import Detections, at_most, clipped_to_images, suppressed
from ..box_regression import BoxTransform


class Candidates(NamedTuple):
    """The best pairs of anchor and class of each of N images, by decreasing score."""

    boxes: Tensor  # (N, M, 4) XYXY
    scores: Tensor  # (N, M)
    classes: Tensor  # (N, M) int64


def per_anchor(predictions: Tensor, size: int) -> Tensor:
    """(N, A * size, H, W) predictions of convolutions to (N, H * W * A, size)."""
    by_anchor = predictions.unflatten(1, (-1, size)).permute(0, 3, 4, 1, 2)
    return by_anchor.flatten(1, 3)


def best_of_level(
    anchors: Tensor,
    scores: Tensor,
    deltas: Tensor,
    *,
    box2box_transform: BoxTransform,
    topk: int,
) -> Candidates:
    """Decode the best-scored pairs of anchor and class of one feature map, in every image.

    Args:
        anchors: (R, 4) XYXY.
        scores: (N, R, K), or logits: only their order counts. NaN is worse than any.
        deltas: (N, R, 4).
        box2box_transform: how the deltas are encoded.
        topk: at most so many pairs are taken per image.
    """
    # The best pairs are among the anchors whose best classes are best: one pass over all scores.
    best = scores.amax(dim=2).nan_to_num(nan=-torch.inf)
    anchor_idx = best.topk(at_most(best.shape[1], topk), dim=1).indices
    num_classes = scores.shape[2]
    chosen = scores.gather(1, anchor_idx[..., None].expand(-1, -1, num_classes)).flatten(1)
    chosen = chosen.nan_to_num(nan=-torch.inf)
    top, pairs = chosen.topk(at_most(chosen.shape[1], topk), dim=1)
    anchor_idx = anchor_idx.gather(1, pairs.div(num_classes, rounding_mode="floor"))
    top_deltas = deltas.gather(1, anchor_idx[..., None].expand(-1, -1, 4))
    boxes = box2box_transform.apply_deltas(
        top_deltas.flatten(0, 1), anchors[anchor_idx.flatten()]
    ).view_as(top_deltas)
    return Candidates(boxes, top, pairs.remainder(num_classes))


def detections_of_levels(
    levels: Sequence[Candidates],
    *,
    num_classes: int,
    score_thresh: float,
    nms_thresh: float,
    max_detections: int,
    image_sizes: Tensor,
    clip: bool = False,
) -> Detections:
    """Join the boxes of all feature maps and suppress repetitions within each class.

    Args:
        levels: for each feature map what `best_of_level` returned, with scores.
        num_classes: K.
        score_thresh: only higher scores are detections.
        nms_thresh: IoU above which the lower-scoring box of a class is dropped.
        max_detections: number of boxes kept per image.
        image_sizes: (N, 2), height and width of each image.
        clip: boxes are clipped to their images first; otherwise whole boxes are compared and
            returned.

    Returns:
        Detections of all images. ``source`` counts the candidates of
        all images, levels joined.
    """
    boxes, scores, classes = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
    num_images = scores.shape[0]
    images = torch.arange(num_images, device=scores.device)[:, None].expand_as(scores).flatten()
    flat_boxes, flat_scores, flat_classes = boxes.flatten(0, 1), scores.flatten(), classes.flatten()
    if clip:
        flat_boxes = clipped_to_images(flat_boxes, image_sizes[images])
    kept = suppressed(
        flat_boxes,
        flat_scores,
        flat_classes,
        images,
        num_images=num_images,
        num_categories=num_classes,
        nms_thresh=nms_thresh,
        limit=max_detections,
        valid=flat_scores > score_thresh,
    )
    rows, counts, known = kept.on_host(lambda: kept.all_last(flat_boxes, image_sizes[images]))
    return Detections(
        flat_boxes[rows],
        flat_scores[rows],
        flat_classes[rows],
        images[rows],
        rows,
        counts,
        any(known),
    )
