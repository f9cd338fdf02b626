"""From class scores and boxes of regions to detections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

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
from ..host_waits import asking_waits
from ..layers import cat

# Far more than remain as detections. Where they are too few, all are compared.
_PAIRS_PER_IMAGE = 4096


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
    per_class = boxes.unflatten(1, (-1, box_dim))
    few_are_read = limit >= 0 and asking_waits(scores)

    def detect(pairs: _Pairs) -> Detections | None:
        """None if pairs that were left out might be detections too."""
        region_idx, class_idx, valid, out_of_reach = pairs
        images = batch_index[region_idx]
        sizes = image_sizes[images]
        chosen = per_class[region_idx, 0 if per_class.shape[1] == 1 else class_idx]
        chosen = clipped_to_images(chosen, sizes)
        chosen_scores = class_scores[region_idx, class_idx]
        kept = suppressed(
            *(chosen, chosen_scores, class_idx, images),
            num_images=image_sizes.shape[0],
            num_categories=class_scores.shape[1],
            nms_thresh=nms_thresh,
            limit=limit,
            valid=valid,
        )

        def complete() -> Tensor:
            if kept.counts is None or out_of_reach is None:
                return batch_index.new_ones(())
            worst = chosen_scores[kept.rows].where(kept.taken(), torch.inf).amin()
            full = (kept.counts >= limit).all() & (worst > out_of_reach)
            return full | (out_of_reach == -torch.inf)

        facts = [complete, lambda: kept.all_last(chosen, sizes)]
        if few_are_read:
            most = limit * image_sizes.shape[0]
            facts.append(lambda: chosen_scores[kept.rows[:most]])
        rows, counts, known = kept.on_host(*facts)
        if known and not known[0]:
            return None
        return Detections(
            chosen[rows],
            chosen_scores[rows],
            class_idx[rows],
            images[rows],
            region_idx[rows],
            counts,
            known[1:2] == [True],
            known[2:][: rows.shape[0]] if few_are_read else None,
        )

    found = None
    if few_are_read and candidates.numel() > 0:
        most = _PAIRS_PER_IMAGE * image_sizes.shape[0]
        found = detect(_best_pairs(class_scores, candidates, most))
    if found is None:
        found = detect(_Pairs(*candidates.nonzero().unbind(dim=1)))
    assert found is not None
    return found


class _Pairs(NamedTuple):
    """Pairs of region and class, by region and then by class."""

    region_idx: Tensor  # (P,) int64
    class_idx: Tensor  # (P,) int64
    valid: Tensor | None = None  # (P,) bool, those that are candidates; None if all are
    out_of_reach: Tensor | None = None  # no candidate left out has a higher score; None: none is


def _best_pairs(scores: Tensor, candidates: Tensor, most: int) -> _Pairs:
    """The best of (R, K) pairs, so many that the host need not ask how many candidates there are.

    Args:
        scores: (R, K), at least one.
        candidates: (R, K) bool.
        most: how many to take.
    """
    flat = scores.masked_fill(~candidates, -torch.inf).flatten()
    top = flat.topk(min(most, flat.shape[0]), sorted=False).indices.sort().values
    region_idx = top.div(scores.shape[1], rounding_mode="floor")
    out_of_reach = None
    if top.shape[0] < flat.shape[0]:
        chosen = flat[top]
        everything = candidates.sum() <= top.shape[0]
        out_of_reach = chosen.amin().masked_fill(everything, -torch.inf)
    valid = candidates.flatten()[top]
    return _Pairs(region_idx, top.remainder(scores.shape[1]), valid, out_of_reach)
