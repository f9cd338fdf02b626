"""Selection of proposals out of scored boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Boxes, Instances

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
    return filter_proposals(
        boxes,
        scores,
        image_sizes,
        nms_thresh=nms_thresh,
        post_nms_topk=post_nms_topk,
        min_box_size=min_box_size,
        training=training,
    )


def top_anchors(logits: Tensor, topk: int) -> tuple[Tensor, Tensor]:
    """The ``topk`` highest of (N, R) logits per image, and their (N, K) indices."""
    return logits.topk(min(topk, logits.shape[1]), dim=1)


def filter_proposals(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    *,
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Clip, drop small ones, suppress and cut: the steps after the choice per level.

    Args:
        boxes: for each level (N, K_l, 4) XYXY, or (N, K_l, 5) rotated.
        scores: for each level (N, K_l).
        image_sizes: see `find_top_rpn_proposals`, as the other arguments.
        nms_thresh: see there.
        post_nms_topk: see there.
        min_box_size: see there.
        training: see there.
    """
    level_ids = torch.cat(
        [
            torch.full((level.shape[1],), index, dtype=torch.int64, device=level.device)
            for index, level in enumerate(scores)
        ]
    )
    all_boxes, all_scores = cat(list(boxes), dim=1), cat(list(scores), dim=1)
    finite = torch.isfinite(all_boxes).all(dim=2) & torch.isfinite(all_scores)
    if training and not bool(finite.all()):
        raise FloatingPointError(
            "the proposal generator predicted boxes or scores that are infinite or NaN: "
            "training has diverged. Lower the learning rate, clip gradients, or look for "
            "broken annotations"
        )
    kind = box_kind(all_boxes.shape[2])
    results = []
    for index, image_size in enumerate(image_sizes):
        image_boxes = kind.boxes(all_boxes[index].where(finite[index, :, None], 0.0))
        image_boxes.clip(image_size)
        keep = (finite[index] & image_boxes.nonempty(threshold=min_box_size)).nonzero()[:, 0]
        image_boxes, image_scores = image_boxes[keep], all_scores[index, keep]
        survivors = kind.batched_nms(image_boxes.tensor, image_scores, level_ids[keep], nms_thresh)
        survivors = survivors[:post_nms_topk]
        result = Instances(image_size)
        result.proposal_boxes = image_boxes[survivors]
        result.objectness_logits = image_scores[survivors]
        results.append(result)
    return results


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
