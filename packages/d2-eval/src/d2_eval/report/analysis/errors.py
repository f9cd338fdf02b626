"""Why predictions are wrong, and the average precision that each kind of error costs.

Source: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", 2020. The
numbers are those of the authors' package ``tidecv``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from d2_eval.report.analysis.compared import Compared, Flags, Floats, Integers
from d2_eval.report.analysis.overlaps import Pairs, first_of_each, greedy_matches

CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
CORRECT = -1

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""Names of the kinds of errors, by their numbers."""

MOST_IN_IMAGE = 100
"""So many predictions of an image are looked at, those with the highest scores."""


class Errors(NamedTuple):
    """What is wrong with the predictions, and what it costs.

    Attributes:
        average_precision: at the IoU asked for, in percent. Classes that were predicted but are
            not annotated count as 0.
        costs: by kind, how many points it would rise if all errors of the kind were mended.
        counts: by kind, how many there are.
        cost_of_false_positives: what it would rise if all wrong predictions had the score 0.
        cost_of_false_negatives: what it would rise if objects that were not found did not exist.
        considered: (D,) whether a prediction is among those looked at.
        kinds: (D,) the kind of error, or ``CORRECT``.
        partners: (D,) the object that a prediction is matched with, or is wrong about; -1 for none.
        overlaps: (D,) with that object.
        excused: (D,) wrong, but within a crowd of its class: it costs nothing.
        missed: (G,) objects that no prediction found or could have found with one mistake less.
        found: (G,) objects that a prediction is matched with.
    """

    average_precision: float
    costs: dict[str, float]
    counts: dict[str, int]
    cost_of_false_positives: float
    cost_of_false_negatives: float
    considered: Flags
    kinds: Integers
    partners: Integers
    overlaps: Floats
    excused: Flags
    missed: Flags
    found: Flags


def find_errors(
    both: Compared, pairs: Pairs, *, iou: float = 0.5, background_iou: float = 0.1
) -> Errors:
    """Tell the errors of predictions apart.

    Args:
        both: annotations and predictions.
        pairs: all that overlap by ``background_iou`` or more.
        iou: the overlap from which a prediction of the right class is right.
        background_iou: the overlap up to which a prediction has nothing to do with an object.
    """
    count, truth_count = len(both.detections.scores), len(both.truths.areas)
    considered = both.ranks_in_image < MOST_IN_IMAGE
    pairs = pairs.where(considered[pairs.detections])
    crowds = pairs.where(pairs.crowd & pairs.same_class & (pairs.overlaps > iou))
    pairs = pairs.where(~pairs.crowd)
    same, other = pairs.where(pairs.same_class), pairs.where(~pairs.same_class)

    matches = greedy_matches(same.where(same.overlaps >= iou), count, truth_count)
    correct = matches >= 0
    found = np.zeros(truth_count + 1, bool)  # the last stands for none, numbered -1
    found[matches[correct]] = True
    excused = np.zeros(count, bool)
    excused[crowds.detections] = True
    excused &= ~correct

    same_truth, same_overlap = first_of_each(same, count)
    other_truth, other_overlap = first_of_each(other, count)
    used_truth, used_overlap = first_of_each(same.where(found[same.truths]), count)
    _, any_overlap = first_of_each(pairs, count)
    conditions = [
        correct,
        (same_overlap >= background_iou) & (same_overlap <= iou),
        other_overlap >= iou,
        used_overlap >= iou,
        any_overlap <= background_iou,
    ]
    kinds = np.select(
        conditions, [CORRECT, LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH
    )
    partners = np.select(conditions[:4], [matches, same_truth, other_truth, used_truth], -1)
    of_match, match_overlap = _overlaps_with(same, matches, count)
    overlaps = np.select(
        conditions[:4],
        [np.where(of_match, match_overlap, 0.0), same_overlap, other_overlap, used_overlap],
        any_overlap,
    )
    mendable = considered & np.isin(kinds, (CLASSIFICATION, LOCALISATION))
    usable = np.zeros(truth_count, bool)
    usable[partners[mendable & ~found[partners]]] = True
    found = found[:-1]
    missed = ~found & ~usable & ~both.truths.crowd
    ledger = _Ledger(both, considered, kinds, partners, excused, found, missed)
    base = ledger.average_precision()
    costs = {
        name: max(ledger.average_precision(mended=kind) - base, 0.0)
        for kind, name in enumerate(KINDS)
    }
    wrong = np.bincount(kinds[considered & (kinds >= 0)], minlength=len(KINDS)).tolist()
    wrong[MISSED] = int(missed.sum())
    return Errors(
        base,
        costs,
        dict(zip(KINDS, wrong, strict=True)),
        ledger.average_precision(precise=True) - base,
        ledger.average_precision(complete=True) - base,
        considered,
        kinds,
        partners,
        overlaps,
        excused,
        missed,
        found,
    )


def _overlaps_with(pairs: Pairs, matches: Integers, count: int) -> tuple[Flags, Floats]:
    """Of each prediction with its match."""
    of_match = pairs.where(matches[pairs.detections] == pairs.truths)
    truths, overlaps = first_of_each(of_match, count)
    return truths >= 0, overlaps


class _Ledger:
    """What average precision is made of, and would be made of with errors mended."""

    def __init__(
        self,
        both: Compared,
        considered: Flags,
        kinds: Integers,
        partners: Integers,
        excused: Flags,
        found: Flags,
        missed: Flags,
    ) -> None:
        detections, truths = both.detections, both.truths
        # Images in the order of the file: it decides which of equal scores comes first.
        rows = np.flatnonzero(considered)
        rows = rows[np.argsort(both.file_order[detections.images[rows]], kind="stable")]
        self._scores, self._classes = detections.scores[rows], detections.classes[rows]
        self._kinds, self._excused = kinds[rows], excused[rows]
        self._partners = partners[rows]
        self._truth_classes = truths.classes
        self._found, self._missed, self._lost = found, missed, ~found & ~truths.crowd
        self._totals = np.bincount(truths.classes[~truths.crowd], minlength=len(both.class_names))
        self._present = self._totals > 0
        self._mends = self._first_mends()

    def _first_mends(self) -> Flags:
        """Those errors whose object nothing has found, and no better error is about."""
        mends = np.zeros(len(self._kinds), bool)
        candidates = np.flatnonzero(np.isin(self._kinds, (CLASSIFICATION, LOCALISATION)))
        candidates = candidates[~self._found[self._partners[candidates]]]
        _, first = np.unique(self._partners[candidates], return_index=True)
        mends[candidates[first]] = True
        return mends

    def average_precision(
        self, *, mended: int | None = None, precise: bool = False, complete: bool = False
    ) -> float:
        """The mean over classes, in percent.

        Args:
            mended: this kind of error is.
            precise: wrong predictions have the score 0, right ones 1.
            complete: objects that are not found do not count.
        """
        correct = self._kinds == CORRECT
        kept, classes, scores = ~self._excused, self._classes, self._scores
        totals = self._totals
        if mended is not None and mended != MISSED:
            of_kind = self._kinds == mended
            kept = np.where(of_kind, self._mends, kept)
            correct = correct | (of_kind & self._mends)
            if mended == CLASSIFICATION:
                right = (
                    self._truth_classes[np.maximum(self._partners, 0)]
                    if len(self._truth_classes)
                    else classes
                )
                classes = np.where(of_kind & self._mends, right, classes)
        changed = mended is not None or precise or complete
        if mended == MISSED or complete:
            lost = self._missed if mended == MISSED else self._lost
            totals = totals - np.bincount(self._truth_classes[lost], minlength=len(totals))
        if precise:
            scores = correct.astype(np.float64)
        # Of equal scores, what was an error comes before what was right all along.
        late = (self._kinds == CORRECT) & changed
        order = np.lexsort((late, -scores))
        order = order[kept[order]]
        return _mean_average_precision(correct[order], classes[order], totals)


def _mean_average_precision(correct: Flags, classes: Integers, totals: Integers) -> float:
    """The mean over the classes that have any object or prediction, in percent."""
    by_class = np.argsort(classes, kind="stable")
    ends = np.searchsorted(classes[by_class], np.arange(len(totals) + 1))
    values = []
    for label, total in enumerate(totals.tolist()):
        mine = correct[by_class[ends[label] : ends[label + 1]]]
        if total or len(mine):
            values.append(average_precision(mine, total))
    return sum(values) / len(values) if values else 0.0


def average_precision(correct: Flags, total: int) -> float:
    """Precision averaged over the recalls 0, 0.01, …, 1, in percent.

    Args:
        correct: whether each prediction of a class is right, from the highest score to the lowest.
        total: the objects of the class.
    """
    if not total or not len(correct):
        return 0.0
    right = np.cumsum(correct)
    precision = right / np.arange(1, len(correct) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / total, np.arange(101) / 100, side="left")
    return float(envelope[at[at < len(correct)]].sum() / 101 * 100)
