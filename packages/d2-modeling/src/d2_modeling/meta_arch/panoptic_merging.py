"""One segment per pixel out of instance and semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2_structures import Instances

from ..host_waits import remembered


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
    labels = int(semantic_results.max()) + 1 if semantic_results.numel() else 1
    return combine_outputs_of_images(
        [instance_results],
        [semantic_results],
        labels,
        overlap_threshold,
        stuff_area_thresh,
        instances_score_thresh,
    )[0]


def combine_outputs_of_images(
    instance_results: Sequence[Instances],
    semantic_results: Sequence[Tensor],
    num_labels: int,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> list[tuple[Tensor, list[dict[str, Any]]]]:
    """`combine_semantic_and_instance_outputs` of a batch.

    The host waits for the device once, and once more where it does not know the scores.

    Args:
        instance_results: see there, for each image.
        semantic_results: see there, for each image; labels in [0, ``num_labels``).
        num_labels: how many there are.
        overlap_threshold: see there, as the other arguments.
        stuff_area_thresh: see there.
        instances_score_thresh: see there.
    """
    if not instance_results:
        return []
    counts = _numbers_of_good([found.scores for found in instance_results], instances_score_thresh)
    laid = []
    for found, semantic, count in zip(instance_results, semantic_results, counts, strict=True):
        rows = found.scores.argsort(descending=True)[:count]
        things, stays = _lay_things(semantic, found, rows, overlap_threshold)
        ids, areas = _lay_stuff(semantic, things, stays.sum(), num_labels, stuff_area_thresh)
        laid.append((ids, rows, found.scores[rows], found.pred_classes[rows], stays, areas))
    # Doubles hold all of these numbers exactly.
    tables = torch.cat([table.double() for image in laid for table in image[1:]]).tolist()
    results, values = [], iter(tables)
    for segment_ids, *parts in laid:
        columns = [[next(values) for _ in range(len(part))] for part in parts]
        results.append((segment_ids, _segments(*columns)))
    return results


def _numbers_of_good(scores: Sequence[Tensor], threshold: float) -> list[int]:
    """How many of each image reach the threshold."""
    known = [remembered(of_image) for of_image in scores]
    if all(of_image is not None for of_image in known):
        return [sum(score >= threshold for score in of_image) for of_image in known]
    counts: list[int] = torch.stack(
        [(of_image.double() >= threshold).sum() for of_image in scores]
    ).tolist()
    return counts


def _lay_things(
    semantic: Tensor, instances: Instances, rows: Tensor, overlap_threshold: float
) -> tuple[Tensor, Tensor]:
    """Lay the instances of (R,) rows under each other, the best first.

    Returns:
        (H, W) int32 ids, and (R,) bool: which of them stay.
    """
    segment_ids = torch.zeros_like(semantic, dtype=torch.int32)
    masks = instances.pred_masks.to(device=semantic.device, dtype=torch.bool)
    stays = torch.zeros(len(rows), dtype=torch.bool, device=semantic.device)
    for place in range(len(rows)):
        mask = masks.index_select(0, rows[place : place + 1])[0]
        free = mask & (segment_ids == 0)
        area = mask.sum()
        covered = area - free.sum()
        stays[place] = (area > 0) & (covered.double() / area <= overlap_threshold)
        number = stays.sum(dtype=torch.int32)
        segment_ids = torch.where(free & stays[place], number, segment_ids)
    return segment_ids, stays


def _lay_stuff(
    semantic: Tensor, segment_ids: Tensor, num_things: Tensor, num_labels: int, area_thresh: float
) -> tuple[Tensor, Tensor]:
    """Fill what is free with stuff.

    Returns:
        (H, W) int32 ids, and (L,) int64: the pixels of each label's segment, 0 where it has none.
    """
    free = segment_ids == 0
    flat = semantic.flatten().long()
    areas = torch.zeros(num_labels, dtype=torch.int64, device=semantic.device)
    areas.scatter_add_(0, flat, free.flatten().to(torch.int64))
    areas = areas.where(areas >= area_thresh, 0)
    areas[:1] = 0  # things together
    wanted = areas > 0
    numbers = (num_things + wanted.cumsum(0)).where(wanted, 0).to(torch.int32)
    segment_ids = torch.where(free, numbers[flat].view_as(segment_ids), segment_ids)
    return segment_ids, areas


def _segments(
    rows: list[float],
    scores: list[float],
    classes: list[float],
    stays: list[float],
    areas: list[float],
) -> list[dict[str, Any]]:
    """What the segments of an image are, in the order of their ids."""
    segments: list[dict[str, Any]] = []
    for row, score, label, stayed in zip(rows, scores, classes, stays, strict=True):
        if stayed:
            about = {"score": score, "category_id": int(label), "instance_id": int(row)}
            segments.append({"id": len(segments) + 1, "isthing": True, **about})
    for label, area in enumerate(areas):
        if area:
            stuff = {"category_id": label, "area": int(area)}
            segments.append({"id": len(segments) + 1, "isthing": False, **stuff})
    return segments
