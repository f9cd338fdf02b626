"""Average precision of parts of the data, with COCO's rules for what does not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from d2_eval.report.analysis.compared import Compared, Floats
from d2_ops.host import CocoDetections, CocoGroundTruths, coco_evaluate

_SIZES = (
    ("small", 0.0, 32.0**2),
    ("medium", 32.0**2, 96.0**2),
    ("large", 96.0**2, 1e10),
)
_ASPECTS = (
    ("below 1:2", 0.0, 0.5),
    ("to 3:4", 0.5, 0.75),
    ("square", 0.75, 4 / 3),
    ("to 2:1", 4 / 3, 2.0),
    ("wider", 2.0, np.inf),
)
_COUNTS = (
    ("1", 1, 2),
    ("2 to 3", 2, 4),
    ("4 to 7", 4, 8),
    ("8 to 15", 8, 16),
    ("16 to 31", 16, 32),
    ("32+", 32, np.inf),
)
_JUST_BELOW = 1e-9


class Part(NamedTuple):
    """A part of the data.

    Attributes:
        name: of it.
        objects: annotated ones in it, without crowds.
        ap: average precision over the IoU thresholds 0.5, 0.55, …, 0.95 in percent; NaN without
            any object.
        ap50: the same at 0.5.
    """

    name: str
    objects: int
    ap: float
    ap50: float


def parts_by_size(both: Compared) -> list[Part]:
    """Objects by their area, as COCO divides them."""
    return _parts(both, both.truths.areas, both.detections.areas, _SIZES)


def parts_by_aspect(both: Compared) -> list[Part]:
    """Objects by the width of their box over its height.

    As with COCO's sizes, predictions of another shape that match no object do not count.
    """
    truth, found = (_aspects(boxes) for boxes in (both.truths.boxes, both.detections.boxes))
    return _parts(both, truth, found, _without_ends(_ASPECTS))


def parts_by_count(both: Compared) -> list[Part]:
    """Images by the number of objects that are annotated in them, crowds left out."""
    countable = both.truths.images[~both.truths.crowd]
    counts = np.bincount(countable, minlength=len(both.images)).astype(np.float64)
    truth, found = counts[both.truths.images], counts[both.detections.images]
    return _parts(both, truth, found, _without_ends(_COUNTS))


def _without_ends(bins: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Ranges that have their lower end and not their upper one."""
    largest = float(np.finfo(np.float64).max)
    return [(name, low, min(high * (1 - _JUST_BELOW), largest)) for name, low, high in bins]


def _aspects(boxes: Floats) -> Floats:
    aspects: Floats = boxes[:, 2] / np.maximum(boxes[:, 3], _JUST_BELOW)
    return aspects


def _parts(
    both: Compared, truth: Floats, found: Floats, bins: Sequence[tuple[str, float, float]]
) -> list[Part]:
    """Evaluate as COCO does for ranges of areas, with another measure in the place of areas."""
    truths, detections = both.truths, both.detections
    precision = coco_evaluate(
        CocoGroundTruths(
            images=truths.images,
            categories=truths.classes,
            areas=truth,
            boxes=truths.boxes,
            masks=truths.masks,
            crowd=truths.crowd,
        ),
        CocoDetections(
            images=detections.images,
            categories=detections.classes,
            scores=detections.scores,
            areas=found,
            boxes=detections.boxes,
            masks=detections.masks,
        ),
        both.task,
        num_categories=len(both.class_names),
        area_ranges=[(low, high) for _, low, high in bins],
        max_detections=(100,),
    ).precision[:, :, :, :, 0]
    parts = []
    for index, (name, low, high) in enumerate(bins):
        inside = (truth >= low) & (truth <= high) & ~truths.crowd
        of_part = precision[..., index]
        parts.append(Part(name, int(inside.sum()), _percent(of_part), _percent(of_part[0])))
    return parts


def _percent(precision: Floats) -> float:
    present = precision[precision > -1]
    return float(present.mean()) * 100 if present.size else float("nan")
