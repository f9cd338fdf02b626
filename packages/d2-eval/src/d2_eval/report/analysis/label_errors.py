"""Where the annotations rather than the predictions may be wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from d2_eval.report.analysis.compared import Compared
from d2_eval.report.analysis.errors import BACKGROUND, CLASSIFICATION, Errors
from d2_eval.report.analysis.overlaps import Pairs

UNLABELLED, UNFOUND, OTHER_CLASS = "not annotated", "found by nothing", "other class"


class Suspicion(NamedTuple):
    """An annotation that may be wrong, or may be missing.

    Attributes:
        kind: ``UNLABELLED``: a confident prediction where nothing is annotated; ``UNFOUND``: an
            object that no prediction of any class or score touches; ``OTHER_CLASS``: a confident
            prediction of another class than what is annotated there.
        detection: its place among the predictions; -1 for none.
        truth: its place among the objects; -1 for none.
    """

    kind: str
    detection: int
    truth: int


def suspicions(both: Compared, pairs: Pairs, errors: Errors, confidence: float) -> list[Suspicion]:
    """Predictions that contradict annotations: by kind, the most conspicuous ones first.

    Predictions stand in the order of their scores, objects in that of their areas.

    Args:
        both: annotations and predictions.
        pairs: all that overlap by 0.1 or more.
        errors: of the predictions.
        confidence: the score from which on a prediction is confident.
    """
    scores = both.detections.scores
    confident = errors.considered & ~errors.excused & (scores >= confidence)
    touched = np.zeros(len(both.truths.areas), bool)
    touched[pairs.truths[errors.considered[pairs.detections]]] = True
    in_crowd = np.zeros(len(scores), bool)
    in_crowd[pairs.detections[pairs.crowd]] = True
    background = confident & (errors.kinds == BACKGROUND) & ~in_crowd
    unlabelled = np.flatnonzero(background)
    unfound = np.flatnonzero(~touched & ~both.truths.crowd)
    confused = np.flatnonzero(confident & (errors.kinds == CLASSIFICATION))
    confused = confused[~errors.found[errors.partners[confused]]]
    confused = confused[np.argsort(-scores[confused], kind="stable")]
    _, first = np.unique(errors.partners[confused], return_index=True)
    confused = confused[np.sort(first)]  # one prediction for each object
    result = [
        Suspicion(UNLABELLED, int(i), -1)
        for i in unlabelled[np.argsort(-scores[unlabelled], kind="stable")]
    ]
    result += [Suspicion(OTHER_CLASS, int(i), int(errors.partners[i])) for i in confused]
    areas = both.truths.areas[unfound]
    result += [Suspicion(UNFOUND, -1, int(i)) for i in unfound[np.argsort(-areas, kind="stable")]]
    return result
