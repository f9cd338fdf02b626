"""What we want of a card, and how far the figures of a run are from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A bound on one measure of the figures of a step.

    Attributes:
        says: the goal in words.
        step: whose figures count.
        name: of the operator or model; None for all.
        mode: ``"training"``, ``"inference"``, ``"forward"`` or ``"backward"``; None for all.
        measure: the key of a figure that is bounded from below.
        at_least: the bound.
        of: whether the worst figure has to keep it, or the best one.
    """

    says: str
    step: str
    name: str | None
    mode: str | None
    measure: Literal["ratio", "images_per_second"]
    at_least: float
    of: Literal["worst", "best"] = "worst"

    def concerns(self, figure: Figure) -> bool:
        """Whether a figure counts for this goal."""
        return (
            figure["step"] == self.step
            and self.name in (None, figure["name"])
            and self.mode in (None, figure["mode"])
            and figure.get(self.measure) is not None
        )


GOALS = (
    Goal("no operator slower than torchvision's at any size", "operators", None, None, "ratio", 1),
    Goal("roi_align", "operators", "roi_align", None, "ratio", 1.5),
    Goal("multilevel_roi_align", "operators", "multilevel_roi_align", None, "ratio", 1.5),
    Goal("batched_nms", "operators", "batched_nms", None, "ratio", 2),
    Goal("Mask R-CNN inference", "models", "mask_rcnn", "inference", "ratio", 2),
    Goal("Mask R-CNN training", "models", "mask_rcnn", "training", "ratio", 1.5),
    Goal(
        "Mask R-CNN training on one card, images/s",
        "models",
        "mask_rcnn",
        "training",
        "images_per_second",
        62,
        of="best",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """A goal, the figure that decides it, and whether it is met; None where none was measured."""

    goal: Goal
    figure: Figure | None
    met: bool | None


def outcomes(figures: Sequence[Figure]) -> list[Outcome]:
    """How each goal fares."""
    found = []
    for goal in GOALS:
        concerned = [f for f in figures if goal.concerns(f)]
        if not concerned:
            found.append(Outcome(goal, None, None))
            continue
        choose = min if goal.of == "worst" else max
        decisive = choose(concerned, key=lambda f, goal=goal: f[goal.measure])
        found.append(Outcome(goal, decisive, decisive[goal.measure] >= goal.at_least))
    return found


def strictest(figure: Figure) -> Goal | None:
    """The highest bound on the ratio of a figure to the peer's."""
    ours = [g for g in GOALS if g.measure == "ratio" and g.concerns(figure)]
    return max(ours, key=lambda goal: goal.at_least, default=None)
