"""Which predictions overlap which annotated objects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from d2_eval.report.analysis.compared import Compared, Flags, Floats, Integers
from d2_ops.host import box_iou, rle_iou


class Pairs(NamedTuple):
    """Predictions and annotated objects of the same image that overlap, whatever their classes.

    They are in the order of the predictions, and of these from the largest overlap to the
    smallest; of equal overlaps the object that the file names first comes first.

    Attributes:
        detections: (P,) places of the predictions.
        truths: (P,) places of the objects.
        overlaps: (P,) intersection over union; with a crowd, over the prediction's area.
        same_class: (P,) whether the classes are equal.
        crowd: (P,) whether the object is a crowd.
    """

    detections: Integers
    truths: Integers
    overlaps: Floats
    same_class: Flags
    crowd: Flags

    def where(self, chosen: Flags | Integers) -> Pairs:
        """Those that are chosen: by flags in their order, or by places in the order of these."""
        return Pairs(
            self.detections[chosen],
            self.truths[chosen],
            self.overlaps[chosen],
            self.same_class[chosen],
            self.crowd[chosen],
        )


def overlapping_pairs(both: Compared, least: float) -> Pairs:
    """Find all pairs that overlap.

    Args:
        both: annotations and predictions.
        least: the smallest overlap that is kept, above 0.
    """
    truths, detections = both.truths, both.detections
    starts = np.searchsorted(truths.images, np.arange(len(both.images) + 1))
    ends = np.searchsorted(detections.images, np.arange(len(both.images) + 1))
    found: list[tuple[Integers, Integers, Floats]] = []
    for place in np.unique(detections.images).tolist():
        wanted = slice(starts[place], starts[place + 1])
        got = slice(ends[place], ends[place + 1])
        if wanted.start == wanted.stop:
            continue
        crowd = truths.crowd[wanted]
        if detections.masks is None or truths.masks is None:
            overlaps = box_iou(detections.boxes[got], truths.boxes[wanted], crowd)
        else:
            overlaps = rle_iou(detections.masks[got], truths.masks[wanted], crowd)
        rows, columns = np.nonzero(overlaps >= least)
        found.append((rows + got.start, columns + wanted.start, overlaps[rows, columns]))
    if not found:
        none = np.empty(0, np.int64)
        return Pairs(none, none, np.empty(0), none.astype(bool), none.astype(bool))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    same_class = detections.classes[rows] == truths.classes[columns]
    return Pairs(rows, columns, values, same_class, truths.crowd[columns])


def greedy_matches(pairs: Pairs, detections: int, truths: int) -> Integers:
    """Give each prediction, in order, the object not yet given away that it overlaps most.

    Args:
        pairs: those that may be matched.
        detections: D.
        truths: G.

    Returns:
        (D,) the place of the object, -1 for none.
    """
    matches = [-1] * detections
    taken = [False] * truths
    for detection, truth in zip(pairs.detections.tolist(), pairs.truths.tolist(), strict=True):
        if matches[detection] < 0 and not taken[truth]:
            matches[detection] = truth
            taken[truth] = True
    return np.array(matches, np.int64)


def first_of_each(pairs: Pairs, detections: int) -> tuple[Integers, Floats]:
    """Of each prediction the pair that comes first.

    Returns:
        (D,) the place of its object, -1 for none, and (D,) the overlap, 0 for none.
    """
    present, first = np.unique(pairs.detections, return_index=True)
    truths, overlaps = np.full(detections, -1), np.zeros(detections)
    truths[present], overlaps[present] = pairs.truths[first], pairs.overlaps[first]
    return truths, overlaps
