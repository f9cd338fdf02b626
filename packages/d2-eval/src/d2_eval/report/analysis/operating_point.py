"""What a user sees who shows predictions from some confidence on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from d2_eval.report.analysis.compared import Compared, Floats, Integers
from d2_eval.report.analysis.errors import CORRECT, Errors
from d2_eval.report.analysis.overlaps import Pairs, greedy_matches

NOTHING = -1
"""Stands in the place of a class where there is no object, or no prediction."""

_CALIBRATION_BINS = 10


class ConfidenceBin(NamedTuple):
    """Predictions of a range of confidence.

    Attributes:
        low: where the range begins; it is a tenth wide.
        number: of the predictions.
        confidence: their mean; NaN without any.
        precision: the share that is right; NaN without any.
    """

    low: float
    number: int
    confidence: float
    precision: float


class Outcome(NamedTuple):
    """Each prediction that is shown, and each object that no shown prediction is about.

    Attributes:
        truths: (N,) places of the objects, -1 for predictions of nothing.
        detections: (N,) places of the predictions, -1 for objects that are not found.
        truth_classes: (N,) their classes, ``NOTHING`` where there is none.
        found_classes: (N,) the same of the predictions.
    """

    truths: Integers
    detections: Integers
    truth_classes: Integers
    found_classes: Integers


def best_confidence(both: Compared, errors: Errors) -> float:
    """The confidence from which on F1, over all classes together, is best; 0 without any hit."""
    counted = errors.considered & ~errors.excused
    scores = both.detections.scores[counted]
    correct = errors.kinds[counted] == CORRECT
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(correct[order])
    if not len(right) or not right[-1]:
        return 0.0
    total = int((~both.truths.crowd).sum())
    f1 = 2 * right / (np.arange(1, len(right) + 1) + total)
    last_of_score = np.r_[scores[1:] != scores[:-1], True]
    f1 = np.where(last_of_score, f1, -1.0)
    return float(scores[np.argmax(f1)])


def outcome(both: Compared, pairs: Pairs, errors: Errors, confidence: float) -> Outcome:
    """Pair objects and predictions, right ones first, then those of other classes.

    Args:
        both: annotations and predictions.
        pairs: all that overlap.
        errors: of the predictions.
        confidence: predictions with a lower score are not shown.
    """
    detections, truths = both.detections, both.truths
    shown = errors.considered & (detections.scores >= confidence) & ~errors.excused
    partners = np.where(shown & (errors.kinds == CORRECT), errors.partners, NOTHING)
    taken = np.zeros(len(truths.areas), bool)
    taken[partners[partners >= 0]] = True
    free = shown & (partners < 0)
    candidates = pairs.where(
        free[pairs.detections] & ~taken[pairs.truths] & ~pairs.crowd & (pairs.overlaps >= 0.5)
    )
    confused = greedy_matches(candidates, len(partners), len(taken))
    partners = np.where(confused >= 0, confused, partners)
    taken[partners[partners >= 0]] = True
    rows = np.flatnonzero(shown)
    lost = np.flatnonzero(~taken & ~truths.crowd)
    none = np.full(len(lost), NOTHING)
    of_rows = partners[rows]
    classes = np.r_[truths.classes, NOTHING]  # so that -1 finds NOTHING
    return Outcome(
        np.r_[of_rows, lost],
        np.r_[rows, none],
        np.r_[classes[of_rows], truths.classes[lost]],
        np.r_[detections.classes[rows], none],
    )


def confusion_counts(result: Outcome, classes: int) -> Integers:
    """(K + 1, K + 1) how often each class was taken for each other; the last is nothing."""
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(counts, (result.truth_classes, result.found_classes), 1)
    return counts


def calibration(both: Compared, errors: Errors) -> tuple[list[ConfidenceBin], float]:
    """How often predictions of a confidence are right.

    Returns:
        Ten bins of confidence, and the expected calibration error in percent: the distance of
        confidence and precision, averaged over all predictions; NaN without any.
    """
    counted = errors.considered & ~errors.excused
    scores = both.detections.scores[counted]
    correct = (errors.kinds[counted] == CORRECT).astype(np.float64)
    places = np.clip((scores * _CALIBRATION_BINS).astype(np.int64), 0, _CALIBRATION_BINS - 1)
    counts = np.bincount(places, minlength=_CALIBRATION_BINS)
    with np.errstate(invalid="ignore"):
        confidence: Floats = np.bincount(places, scores, _CALIBRATION_BINS) / counts
        precision: Floats = np.bincount(places, correct, _CALIBRATION_BINS) / counts
    bins = [
        ConfidenceBin(i / _CALIBRATION_BINS, int(counts[i]), float(confidence[i]), float(p))
        for i, p in enumerate(precision)
    ]
    filled = counts > 0
    if not filled.any():
        return bins, float("nan")
    distance = np.abs(confidence[filled] - precision[filled])
    return bins, float((distance * counts[filled]).sum() / counts.sum() * 100)
