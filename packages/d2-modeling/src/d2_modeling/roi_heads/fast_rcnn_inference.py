"""From class scores and boxes of regions to detections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Instances

from ..box_kinds import box_kind


def fast_rcnn_inference(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
    box_dim: int = 4,
) -> tuple[list[Instances], list[Tensor]]:
    """Select detections of each image: by score, per-class suppression, and count.

    Args:
        boxes: for each image (R_i, K * B) boxes of each class, or (R_i, B) of all.
        scores: for each image (R_i, K + 1) probabilities, background last.
        image_shapes: for each image (height, width).
        score_thresh: only higher scores are detections.
        nms_thresh: IoU above which the lower-scoring box of a class is dropped.
        topk_per_image: number of detections kept; negative for all.
        box_dim: values B per box, 4 or 5 for rotated ones.

    Returns:
        For each image instances with ``pred_boxes``, ``scores`` and ``pred_classes`` by
        decreasing score, and the index in [0, R_i) of the region each came from.
    """
    results = [
        fast_rcnn_inference_single_image(
            image_boxes, image_scores, shape, score_thresh, nms_thresh, topk_per_image, box_dim
        )
        for image_boxes, image_scores, shape in zip(boxes, scores, image_shapes, strict=True)
    ]
    return [result for result, _ in results], [kept for _, kept in results]


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
    box_dim: int = 4,
) -> tuple[Instances, Tensor]:
    """`fast_rcnn_inference` of one image. Regions with non-finite values are left out."""
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
    class_scores = scores[:, :-1]
    candidates = (class_scores > score_thresh) & finite[:, None]
    region_idx, class_idx = candidates.nonzero(as_tuple=True)
    per_class = boxes.unflatten(1, (-1, box_dim))
    if per_class.shape[1] == 1:
        chosen = per_class[region_idx, 0]
    else:
        chosen = per_class[region_idx, class_idx]
    kind = box_kind(box_dim)
    clipped = kind.boxes(chosen)
    clipped.clip(image_shape)
    chosen_scores = class_scores[region_idx, class_idx]
    keep = kind.batched_nms(clipped.tensor, chosen_scores, class_idx, nms_thresh)
    if topk_per_image >= 0:
        keep = keep[:topk_per_image]
    result = Instances(image_shape)
    result.pred_boxes = clipped[keep]
    result.scores = chosen_scores[keep]
    result.pred_classes = class_idx[keep]
    return result, region_idx[keep]
