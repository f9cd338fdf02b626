"""Selection of proposals out of scored boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from d2_structures import Boxes, Instances

from ..batched_selection import (
    Kept,
    Regions,
    at_most,
    clipped_to_images,
    counts_per_image,
    nonempty,
    sizes_as_tensor,
    suppressed,
)
from ..box_kinds import box_kind
from ..layers import cat

# The logit of a probability of 1 - 1e-10: ground truth is as sure as float32 can say.
_GT_LOGIT = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


def find_top_rpn_proposals(
    proposals: Sequence[Tensor],
    pred_objectness_logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Select the best proposals of each image.

    The ``pre_nms_topk`` best of each level are clipped to the image, small ones are
    dropped, non-maximum suppression runs within each level, and the ``post_nms_topk`` best
    of all levels remain.

    Args:
        proposals: for each level (N, R_l, 4) XYXY boxes, or (N, R_l, 5) rotated ones.
        pred_objectness_logits: for each level (N, R_l).
        image_sizes: for each of the N images (height, width).
        nms_thresh: IoU above which the lower-scoring box is dropped.
        pre_nms_topk: number kept per level and image before suppression.
        post_nms_topk: number kept per image after it.
        min_box_size: boxes whose sides are not longer than this many pixels are dropped.
        training: whether non-finite predictions are an error.

    Returns:
        For each image ``proposal_boxes`` and ``objectness_logits``, by decreasing score.

    Raises:
        FloatingPointError: in training, if a selected box or score is not finite.
    """
    scores, boxes = [], []
    for level_boxes, level_logits in zip(proposals, pred_objectness_logits, strict=True):
        top, idx = top_anchors(level_logits, pre_nms_topk)
        scores.append(top)
        boxes.append(level_boxes.gather(1, idx[..., None].expand(-1, -1, level_boxes.shape[2])))
    regions = filter_proposals(
        boxes,
        scores,
        sizes_as_tensor(image_sizes, boxes[0]),
        nms_thresh=nms_thresh,
        post_nms_topk=post_nms_topk,
        min_box_size=min_box_size,
        training=training,
    )
    return proposals_of_images(regions, image_sizes)


def top_anchors(logits: Tensor, topk: int) -> tuple[Tensor, Tensor]:
    """The ``topk`` highest of (N, R) logits per image, and their (N, K) indices."""
    return logits.topk(at_most(logits.shape[1], topk), dim=1)


def filter_proposals(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_sizes: Tensor,
    *,
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> Regions:
    """Clip, drop small ones, suppress and cut: the steps after the choice per level.

    Args:
        boxes: for each level (N, K_l, 4) XYXY, or (N, K_l, 5) rotated.
        scores: for each level (N, K_l).
        image_sizes: (N, 2), height and width of each image.
        nms_thresh: see `find_top_rpn_proposals`, as the other arguments.
        post_nms_topk: see there.
        min_box_size: see there.
        training: see there.

    Returns:
        Proposals whose numbers the host knows; within `padded_proposals` as many of each image.
    """
    level_ids = torch.cat(
        [torch.full_like(level, index, dtype=torch.int64) for index, level in enumerate(scores)],
        dim=1,
    )
    all_boxes, all_scores = cat(list(boxes), dim=1), cat(list(scores), dim=1)
    finite = torch.isfinite(all_boxes).all(dim=2) & torch.isfinite(all_scores)
    num_images = all_scores.shape[0]
    batch_index = torch.arange(num_images, device=all_scores.device)[:, None]
    batch_index = batch_index.expand_as(all_scores).flatten()
    flat_boxes = clipped_to_images(
        all_boxes.where(finite[:, :, None], 0.0).flatten(0, 1), image_sizes[batch_index]
    )
    flat_scores = all_scores.flatten()
    kept = suppressed(
        flat_boxes,
        flat_scores,
        level_ids.flatten(),
        batch_index,
        num_images=num_images,
        num_categories=len(scores),
        nms_thresh=nms_thresh,
        limit=post_nms_topk,
        valid=finite.flatten() & nonempty(flat_boxes, min_box_size),
    )
    if _padding.get() and post_nms_topk >= 0 and kept.counts is not None:
        most = min(post_nms_topk, flat_scores.shape[0] // max(num_images, 1))
        return _padded(kept, kept.counts, flat_boxes, flat_scores, most)
    rows, counts, known = kept.on_host(finite.all)
    if training and not all(known):
        raise FloatingPointError(
            "the proposal generator predicted boxes or scores that are infinite or NaN: "
            "training has diverged. Lower the learning rate, clip gradients, or look for "
            "broken annotations"
        )
    return Regions(flat_boxes[rows], flat_scores[rows], batch_index[rows], counts)


_padding: ContextVar[bool] = ContextVar("padding", default=False)


@contextmanager
def padded_proposals(padded: bool) -> Iterator[None]:
    """In the block all images have as many proposals, so that the host need not ask how many.

    Boxes and scores of rows that are no proposals are NaN. Heads leave such regions out.

    Args:
        padded: False changes nothing.
    """
    token = _padding.set(padded)
    try:
        yield
    finally:
        _padding.reset(token)


def _padded(kept: Kept, counts: Tensor, boxes: Tensor, scores: Tensor, most: int) -> Regions:
    """The ``most`` rows of each image that are kept, or NaN."""
    place = torch.arange(most, device=scores.device)
    starts = counts.cumsum(0) - counts
    rows = kept.rows[(starts[:, None] + place).clamp(max=len(kept.rows) - 1)]
    missing = place >= counts[:, None]
    batch_index = torch.arange(len(counts), device=scores.device)[:, None].expand_as(rows)
    return Regions(
        boxes[rows].masked_fill(missing[..., None], torch.nan).flatten(0, 1),
        scores[rows].masked_fill(missing, torch.nan).flatten(),
        batch_index.flatten(),
        [most] * len(counts),
    )


def proposals_of_images(
    regions: Regions, image_sizes: Sequence[tuple[int, int]]
) -> list[Instances]:
    """For each image its ``proposal_boxes`` and ``objectness_logits``."""
    kind = box_kind(regions.boxes.shape[1])
    counts = list(counts_per_image(regions, len(image_sizes)))
    parts = zip(image_sizes, regions.boxes.split(counts), regions.scores.split(counts), strict=True)
    return [
        Instances(size, proposal_boxes=kind.boxes(boxes), objectness_logits=logits)
        for size, boxes, logits in parts
    ]


def add_ground_truth_to_proposals(
    gt: Sequence[Instances | Boxes], proposals: Sequence[Instances]
) -> list[Instances]:
    """Append the ground truth boxes to the proposals of each image, with full confidence.

    Args:
        gt: for each image its boxes, or instances with ``gt_boxes``.
        proposals: for each image instances with ``proposal_boxes`` and
            ``objectness_logits``; further fields have to be in ``gt`` too.

    Raises:
        ValueError: if there are not as many images in both, or a field is missing.
    """
    if len(gt) != len(proposals):
        raise ValueError(f"ground truth of {len(gt)} images, proposals of {len(proposals)}")
    return [_append_ground_truth(*pair) for pair in zip(gt, proposals, strict=True)]


def _append_ground_truth(gt: Instances | Boxes, proposals: Instances) -> Instances:
    if isinstance(gt, Boxes):
        gt = Instances(proposals.image_size, gt_boxes=gt)
    available = {
        **gt.get_fields(),
        "proposal_boxes": gt.gt_boxes,
        "objectness_logits": proposals.objectness_logits.new_full((len(gt),), _GT_LOGIT),
    }
    missing = [name for name in proposals.get_fields() if name not in available]
    if missing:
        raise ValueError(f"proposals have the fields {missing}, which the ground truth lacks")
    fields = {name: available[name] for name in proposals.get_fields()}
    return Instances.cat([proposals, Instances(proposals.image_size, **fields)])
