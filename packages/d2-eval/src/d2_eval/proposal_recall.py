"""Average recall of box proposals.

Source: Hosang et al., "What makes for effective detection proposals?", 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_structures import Boxes, pairwise_iou

AREA_RANGES = {
    "": (0.0, 1e10),
    "s": (0.0, 32.0**2),
    "m": (32.0**2, 96.0**2),
    "l": (96.0**2, 1e10),
}
"""Suffix of the metric to the range of annotated areas in square pixels, both ends included."""


class ImageProposals(NamedTuple):
    """Proposals of one image.

    Attributes:
        image_id: the image's id in the dataset.
        boxes_xyxy: (N, 4) float, pixels.
        scores: (N,) float; the order of the proposals, best first.
    """

    image_id: int | str
    boxes_xyxy: torch.Tensor
    scores: torch.Tensor


def proposal_recall(
    ground_truth: CocoGroundTruth,
    proposals: Iterable[ImageProposals],
    limits: Sequence[int] = (100, 1000),
) -> dict[str, float]:
    """Share of the objects that some proposal covers, averaged over IoU 0.5, 0.55, …, 0.95.

    Each proposal covers at most one object: repeatedly the best pair of an object and a proposal
    is taken. Crowds are left out.

    Args:
        ground_truth: the annotations.
        proposals: one entry per image.
        limits: how many proposals per image count.

    Returns:
        ``AR@100``, ``ARs@100``, ``ARm@100``, ``ARl@100`` and so on in percent; NaN where there
        is no object of that size.
    """
    images = list(proposals)
    recalls = {}
    for limit in limits:
        for suffix, area_range in AREA_RANGES.items():
            covers = [_coverage(ground_truth, image, limit, area_range) for image in images]
            recalls[f"AR{suffix}@{limit}"] = _average_recall(torch.cat(covers or [torch.empty(0)]))
    return recalls


def _average_recall(coverage: torch.Tensor) -> float:
    if len(coverage) == 0:
        return math.nan
    thresholds = torch.arange(10, dtype=torch.float64) * 0.05 + 0.5
    return float((coverage[None, :] >= thresholds[:, None]).double().mean()) * 100


def _coverage(
    ground_truth: CocoGroundTruth,
    image: ImageProposals,
    limit: int,
    area_range: tuple[float, float],
) -> torch.Tensor:
    """(G,) float64: the IoU of each object with the proposal that was given to it, else 0."""
    low, high = area_range
    objects = [
        a["bbox"]
        for a in ground_truth.coco.imgToAnns.get(image.image_id, ())
        if not a["iscrowd"] and low <= a["area"] <= high
    ]
    coverage = torch.zeros(len(objects), dtype=torch.float64)
    if not objects or len(image.boxes_xyxy) == 0:
        return coverage
    boxes = torch.tensor(objects, dtype=torch.float32)
    boxes[:, 2:] += boxes[:, :2]
    best = torch.argsort(image.scores, descending=True, stable=True)[:limit]
    overlaps = pairwise_iou(Boxes(image.boxes_xyxy[best].float()), Boxes(boxes)).double()
    for _ in range(min(overlaps.shape)):
        position = int(overlaps.argmax())
        proposal, target = divmod(position, overlaps.shape[1])
        coverage[target] = overlaps[proposal, target]
        overlaps[proposal, :] = -1
        overlaps[:, target] = -1
    return coverage
