"""Pascal VOC's average precision of one class.

Boxes are those of the format: pixels from 1, the last one included, so a box is xmax − xmin + 1
pixels wide.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class VocObjects(NamedTuple):
    """Annotated objects of a class.

    Attributes:
        images: (G,) int, the image of each.
        boxes: (G, 4) float64, xmin, ymin, xmax, ymax.
        difficult: (G,) bool, objects that need not be found.
    """

    images: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray

    def where(self, chosen: np.ndarray) -> VocObjects:
        """Return those that a (G,) mask chooses."""
        return VocObjects(self.images[chosen], self.boxes[chosen], self.difficult[chosen])


class VocBoxes(NamedTuple):
    """Detections of a class.

    Attributes:
        images: (D,) int, the image of each.
        boxes: (D, 4) float64, xmin, ymin, xmax, ymax.
        scores: (D,) float64; of equal ones the first counts as the higher.
    """

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def where(self, chosen: np.ndarray) -> VocBoxes:
        """Return those that (D,) a mask, or numbers in an order, chooses."""
        return VocBoxes(self.images[chosen], self.boxes[chosen], self.scores[chosen])


def voc_average_precision(
    objects: VocObjects,
    detections: VocBoxes,
    thresholds: Sequence[float],
    *,
    eleven_points: bool,
) -> np.ndarray:
    """Return the average precision at each threshold.

    Each detection stands for the object that it overlaps most. It is right if that overlap is
    above the threshold and no better detection stands for the same object, and does not count if
    the object is difficult.

    Args:
        objects: of the class.
        detections: of the class.
        thresholds: overlaps (intersection over union) within (0, 1).
        eleven_points: average as until VOC2009; otherwise as since VOC2010.

    Returns:
        (T,) float64 within [0, 1]; NaN if no object has to be found.
    """
    wanted = int(np.count_nonzero(~objects.difficult))
    if wanted == 0:
        return np.full(len(thresholds), np.nan)
    average: Callable[[np.ndarray, np.ndarray], float] = (
        eleven_point_average if eleven_points else area_under_curve
    )
    ranked = detections.where(np.argsort(-detections.scores, kind="stable"))
    overlaps, targets = _best_objects(objects, ranked)
    averages = []
    for threshold in thresholds:
        hits = overlaps > threshold
        counted = ~(hits & objects.difficult[targets])
        first = np.zeros(len(hits), bool)
        rows = np.flatnonzero(hits & counted)
        first[rows[np.unique(targets[rows], return_index=True)[1]]] = True
        true = np.cumsum(first[counted])
        found = np.arange(1, len(true) + 1)
        averages.append(average(true / wanted, true / found))
    return np.array(averages)


def eleven_point_average(recall: np.ndarray, precision: np.ndarray) -> float:
    """Average the best precision at recalls of at least 0, 0.1, …, 1, as until VOC2009.

    Args:
        recall: (N,) ascending.
        precision: (N,) at these recalls.
    """
    total = 0.0
    for least in np.arange(0.0, 1.1, 0.1):
        reached = precision[recall >= least]
        total += (reached.max() if len(reached) else 0.0) / 11.0
    return float(total)


def area_under_curve(recall: np.ndarray, precision: np.ndarray) -> float:
    """Integrate precision over recall, as since VOC2010.

    The precision at a recall is the best at that or a higher one.

    Args:
        recall: (N,) ascending.
        precision: (N,) at these recalls.
    """
    ends = np.concatenate(([0.0], recall, [1.0]))
    heights = np.concatenate((precision, [0.0]))
    best = np.maximum.accumulate(heights[::-1])[::-1]
    return float(np.sum(np.diff(ends) * best))


def _best_objects(objects: VocObjects, detections: VocBoxes) -> tuple[np.ndarray, np.ndarray]:
    """The largest overlap of each detection, −inf without any object, and whose it is."""
    overlaps = np.full(len(detections.images), -np.inf)
    targets = np.zeros(len(detections.images), np.int64)
    for image in np.unique(detections.images):
        rows = np.flatnonzero(detections.images == image)
        candidates = np.flatnonzero(objects.images == image)
        if len(candidates) == 0:
            continue
        shares = _overlaps(detections.boxes[rows], objects.boxes[candidates])
        best = shares.argmax(axis=1)
        overlaps[rows] = shares[np.arange(len(rows)), best]
        targets[rows] = candidates[best]
    return overlaps, targets


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    lows = np.maximum(boxes[:, None, :2], others[None, :, :2])
    highs = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.maximum(highs - lows + 1.0, 0.0), axis=2)
    areas, other_areas = (np.prod(b[:, 2:] - b[:, :2] + 1.0, axis=1) for b in (boxes, others))
    shares: np.ndarray = common / (areas[:, None] + other_areas - common)
    return shares
