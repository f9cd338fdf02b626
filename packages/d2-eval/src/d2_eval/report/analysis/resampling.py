"""How much average precision owes to the choice of the images.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: percentile intervals of
images drawn with replacement, the same ones for two runs that are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from d2_eval.report.analysis.compared import Compared, Flags, Floats, Integers
from d2_eval.report.analysis.overlaps import Pairs, greedy_matches

_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_MOST_IN_CLASS = 100
_RESAMPLES_AT_ONCE = 50
_RECALLS = np.linspace(0.0, 1.0, 101)


class Interval(NamedTuple):
    """A 95 % interval, in percent."""

    low: float
    high: float


class Matched(NamedTuple):
    """What the average precision of any choice of images is made of.

    Attributes:
        classes: (D,) of the predictions, which are sorted by class, then from the highest score to
            the lowest.
        images: (D,) of the predictions.
        correct: (D, 10) whether it is right at each IoU threshold.
        counted: (D, 10) False for those in crowds.
        totals: (I, K) annotated objects of each image and class.
    """

    classes: Integers
    images: Integers
    correct: Flags
    counted: Flags
    totals: Integers


def matched(both: Compared, pairs: Pairs) -> Matched:
    """Match predictions with objects at the IoU thresholds 0.5, 0.55, …, 0.95, as COCO does.

    Args:
        both: annotations and predictions.
        pairs: all that overlap.
    """
    detections, truths = both.detections, both.truths
    used = both.ranks_in_class < _MOST_IN_CLASS
    pairs = pairs.where(pairs.same_class & (pairs.overlaps >= 0.5) & used[pairs.detections])
    single, crowds = pairs.where(~pairs.crowd), pairs.where(pairs.crowd)
    # Of equal overlaps COCO takes the object that comes last.
    single = single.where(np.lexsort((-single.truths, -single.overlaps, single.detections)))
    shape = len(detections.scores), len(_THRESHOLDS)
    correct, counted = np.zeros(shape, bool), np.ones(shape, bool)
    for index, threshold in enumerate(_THRESHOLDS):
        reached = single.where(single.overlaps >= threshold)
        correct[:, index] = greedy_matches(reached, shape[0], len(truths.areas)) >= 0
        counted[crowds.detections[crowds.overlaps >= threshold], index] = False
    counted |= correct
    rows = np.flatnonzero(used)
    rows = rows[np.lexsort((-detections.scores[rows], detections.classes[rows]))]
    totals = np.zeros((len(both.images), len(both.class_names)), np.int64)
    alone = ~truths.crowd
    np.add.at(totals, (truths.images[alone], truths.classes[alone]), 1)
    return Matched(
        detections.classes[rows], detections.images[rows], correct[rows], counted[rows], totals
    )


def draw_images(count: int, resamples: int, seed: int) -> Integers:
    """(resamples, count) how often each image is drawn; their sum is ``count`` each time."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1 / max(count, 1)), size=resamples)


def average_precisions(of: Matched, draws: Integers) -> Floats:
    """(B, K, 10) average precision in percent of each class at each IoU threshold.

    Args:
        of: predictions, matched.
        draws: (B, I) how often each image counts.

    Returns:
        NaN where a class has no object.
    """
    classes = of.totals.shape[1]
    ends = np.searchsorted(of.classes, np.arange(classes + 1))
    result = np.full((len(draws), classes, len(_THRESHOLDS)), np.nan)
    for first in range(0, len(draws), _RESAMPLES_AT_ONCE):
        some = draws[first : first + _RESAMPLES_AT_ONCE]
        totals = some @ of.totals
        for label in range(classes):
            rows = slice(ends[label], ends[label + 1])
            if totals[:, label].any():
                result[first : first + len(some), label] = _of_class(
                    of, rows, some, totals[:, label]
                )
    return result


def _of_class(of: Matched, rows: slice, draws: Integers, totals: Integers) -> Floats:
    """(B, 10), NaN where there is no object."""
    images, correct, counted = of.images[rows], of.correct[rows], of.counted[rows]
    drawn = draws.astype(np.float32)[:, images]
    everything = np.cumsum(drawn, axis=1, dtype=np.float64)
    result = np.zeros((len(draws), correct.shape[1]))
    divisor = np.where(totals > 0, totals, 1)[:, None]
    for index in range(correct.shape[1]):
        hits = np.flatnonzero(correct[:, index])
        if not len(hits):
            continue
        seen = everything[:, hits]
        aside = np.flatnonzero(~counted[:, index])
        if len(aside):
            before = np.searchsorted(aside, hits)
            left_out = np.cumsum(drawn[:, aside], axis=1)
            seen = seen - np.concatenate([np.zeros((len(draws), 1)), left_out], axis=1)[:, before]
        right = np.cumsum(drawn[:, hits], axis=1, dtype=np.float64)
        precision = right / np.maximum(seen, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # How many of the 101 recalls are reached by each hit for the first time.
        reached = np.searchsorted(_RECALLS, right / divisor, side="right")
        steps = np.diff(reached, axis=1, prepend=0)
        result[:, index] = (envelope * steps).sum(axis=1) / 101 * 100
    result[totals == 0] = np.nan
    return result


def interval(values: Floats) -> Interval:
    """Between the 2.5th and the 97.5th percentile; NaN without values."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(low), float(high))
