"""One segment per pixel out of instance and semantic segmentation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d2_structures import Instances


def combine_semantic_and_instance_outputs(
    instance_results: Instances,
    semantic_results: Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Lay instances over each other by score, and stuff around them.

    Args:
        instance_results: with ``pred_masks`` (N, H, W) bool, ``scores`` and
            ``pred_classes``.
        semantic_results: (H, W) classes; 0 stands for all things together.
        overlap_threshold: an instance of which a larger share is covered already is left
            out.
        stuff_area_thresh: stuff of fewer pixels is left out.
        instances_score_thresh: instances of lower scores are left out.

    Returns:
        (H, W) int32 segment ids from 1 on, 0 where nothing is; and for each segment, in the
        order of ids, a dict with ``id``, ``isthing``, ``category_id``, and for things
        ``score`` and ``instance_id`` (the row in ``instance_results``), for stuff ``area``
        in pixels.

    Source: Kirillov et al., "Panoptic Segmentation", 2019, section 5.
    """
    segment_ids = torch.zeros_like(semantic_results, dtype=torch.int32)
    segments = _lay_things(segment_ids, instance_results, overlap_threshold, instances_score_thresh)
    for label in semantic_results.unique().tolist():
        if label == 0:
            continue
        mask = (semantic_results == label) & (segment_ids == 0)
        area = int(mask.sum())
        if area < stuff_area_thresh:
            continue
        segments.append(
            {"id": len(segments) + 1, "isthing": False, "category_id": label, "area": area}
        )
        segment_ids[mask] = len(segments)
    return segment_ids, segments


def _lay_things(
    segment_ids: Tensor, instances: Instances, overlap_threshold: float, score_thresh: float
) -> list[dict[str, Any]]:
    """Write the ids of the instances that stay into ``segment_ids``; returns what they are."""
    segments: list[dict[str, Any]] = []
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    masks = instances.pred_masks.to(device=segment_ids.device, dtype=torch.bool)
    for index in instances.scores.argsort(descending=True).tolist():
        if scores[index] < score_thresh:
            break
        free = masks[index] & (segment_ids == 0)
        area, covered = int(masks[index].sum()), int(masks[index].sum() - free.sum())
        if area == 0 or covered / area > overlap_threshold:
            continue
        segments.append(
            {
                "id": len(segments) + 1,
                "isthing": True,
                "score": scores[index],
                "category_id": classes[index],
                "instance_id": index,
            }
        )
        segment_ids[free] = len(segments)
    return segments
