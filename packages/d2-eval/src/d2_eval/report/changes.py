"""Objects that one of two runs finds and the other does not."""

from __future__ import annotations

import numpy as np

from d2_eval.report.analysis.compared import Flags, Integers
from d2_eval.report.analysis.operating_point import Outcome
from d2_eval.report.examples import Example
from d2_eval.report.run_figures import MeasuredRun

GAINED, LOST = "gained", "lost"
_MOST_SHOWN = 48


def changed_objects(
    run: MeasuredRun, other: MeasuredRun, shown: Outcome
) -> tuple[list[Example], dict[str, int]]:
    """Tell what the run finds beyond another one, and what it no longer finds.

    Args:
        run: what the report is about.
        other: what it is compared with, from the confidence on that is best for it.
        shown: what a user of the run sees.

    Returns:
        The largest objects of both kinds, and how many there are.
    """
    mine = _finders(shown, len(run.both.truths.areas))
    theirs = _finders(other.outcome(other.best_confidence()), len(other.both.truths.areas))
    gained, lost = (mine >= 0) & (theirs < 0), (mine < 0) & (theirs >= 0)
    examples = _largest(run, gained, mine, GAINED) + _largest(other, lost, theirs, LOST)
    return examples, {GAINED: int(gained.sum()), LOST: int(lost.sum())}


def _finders(result: Outcome, truths: int) -> Integers:
    """(G,) the prediction of an object's own class, -1 for none."""
    right = (result.truths >= 0) & (result.truth_classes == result.found_classes)
    finders = np.full(truths, -1)
    finders[result.truths[right]] = result.detections[right]
    return finders


def _largest(of: MeasuredRun, chosen: Flags, finders: Integers, kind: str) -> list[Example]:
    truths = of.both.truths
    places = np.flatnonzero(chosen)
    places = places[np.argsort(-truths.areas[places], kind="stable")][:_MOST_SHOWN]
    return [
        Example(
            kind,
            int(truths.images[place]),
            int(finders[place]),
            int(place),
            (int(truths.classes[place]), int(truths.classes[place])),
            of_other=kind == LOST,
        )
        for place in places.tolist()
    ]
