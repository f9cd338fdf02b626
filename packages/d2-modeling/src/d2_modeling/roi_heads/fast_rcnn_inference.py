"""From class scores and boxes of regions to detections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Instances

from ..batched_selection import (
    Detections,
    batch_index_of,
    clipped_to_images,
    counts_per_image,
    detections_of_images,
    sizes_as_tensor,
    suppressed,
)
from ..layers import cat


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
    if not boxes:
        return [], []
    counts = [len(image_boxes) for image_boxes in boxes]
    found = select_detections(
        cat(list(boxes)),
        cat(list(scores)),
        batch_index_of(counts, boxes[0].device),
        sizes_as_tensor(image_shapes, boxes[0]),
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        limit=topk_per_image,
        box_dim=box_dim,
    )
    found_counts = list(counts_per_image(found, len(boxes)))
    results = detections_of_images(found, image_shapes, found_counts)
    starts = [0, *itertools.accumulate(counts)]
    sources = zip(found.source.split(found_counts), starts, strict=False)
    return results, [rows - start for rows, start in sources]


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
    (result,), (kept,) = fast_rcnn_inference(
        [boxes], [scores], [image_shape], score_thresh, nms_thresh, topk_per_image, box_dim
    )
    return result, kept


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    batch_index: Tensor,
    image_sizes: Tensor,
    *,
    score_thresh: float,
    nms_thresh: float,
    limit: int,
    box_dim: int,
) -> Detections:
    """`fast_rcnn_inference` of a batch, as a function of tensors.

    Args:
        boxes: (R, K * B) boxes of each class for the regions of all images, or (R, B) of all.
        scores: (R, K + 1) probabilities, background last.
        batch_index: (R,) int64, the image of each region.
        image_sizes: (N, 2), height and width of each image.
        score_thresh: see `fast_rcnn_inference`.
        nms_thresh: see there.
        limit: number of detections kept per image; negative for all.
        box_dim: see there.

    Returns:
        Detections whose ``source`` is the row of the region.
    """
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
    class_scores = scores[:, :-1]
    candidates = (class_scores > score_thresh) & finite[:, None]
    region_idx, class_idx = candidates.nonzero().unbind(dim=1)
    images = batch_index[region_idx]
    per_class = boxes.unflatten(1, (-1, box_dim))
    chosen = per_class[region_idx, 0 if per_class.shape[1] == 1 else class_idx]
    chosen = clipped_to_images(chosen, image_sizes[images])
    chosen_scores = class_scores[region_idx, class_idx]
    rows, counts = suppressed(
        chosen,
        chosen_scores,
        class_idx,
        images,
        num_images=image_sizes.shape[0],
        num_categories=class_scores.shape[1],
        nms_thresh=nms_thresh,
        limit=limit,
    )
    return Detections(
        chosen[rows], chosen_scores[rows], class_idx[rows], images[rows], region_idx[rows], counts
    )
