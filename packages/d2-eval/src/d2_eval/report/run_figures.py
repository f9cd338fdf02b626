"""Everything a report says in numbers, of one run or of two that are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import attrs
import numpy as np

from d2_eval import CocoCurves, CocoGroundTruth, evaluate_coco_results
from d2_eval.report.analysis.compared import (
    Compared,
    Floats,
    Integers,
    ReportTask,
    compared,
    with_box,
)
from d2_eval.report.analysis.curves import Part, parts_by_aspect, parts_by_count, parts_by_size
from d2_eval.report.analysis.errors import CORRECT, KINDS, Errors, find_errors
from d2_eval.report.analysis.operating_point import (
    NOTHING,
    Outcome,
    best_confidence,
    calibration,
    confusion_counts,
    outcome,
)
from d2_eval.report.analysis.overlaps import Pairs, overlapping_pairs
from d2_eval.report.analysis.resampling import average_precisions, draw_images, interval, matched

Figures = dict[str, Any]
_Task = Literal["bbox", "segm", "keypoints"]

_FIELDS: dict[_Task, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_BACKGROUND_IOU = 0.1
_MOST_RESAMPLES, _LEAST_RESAMPLES = 1000, 200
_RESAMPLED_PREDICTIONS = 100_000_000
_SEED = 0
_RESAMPLED = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}


@attrs.frozen(eq=False)
class MeasuredRun:
    """Predictions of one run, compared with the annotations.

    Attributes:
        name: of the run.
        task: by which errors are told apart.
        curves: COCO's curves of each task that the predictions have fields for.
        both: annotations and predictions.
    """

    name: str
    task: ReportTask
    curves: Mapping[_Task, CocoCurves]
    both: Compared

    @classmethod
    def of(
        cls,
        name: str,
        truth: CocoGroundTruth,
        results: Sequence[dict[str, Any]],
        task: ReportTask,
        keypoint_sigmas: Sequence[float] = (),
    ) -> MeasuredRun:
        """Compare results with annotations.

        Raises:
            ValueError: see :func:`~d2_eval.evaluate_coco_results`.
        """
        if task == "bbox" and not all("bbox" in result for result in results):
            results = [with_box(result) for result in results]
        tasks = [t for t, field in _FIELDS.items() if any(result.get(field) for result in results)]
        curves = {
            t: evaluate_coco_results(
                truth, results, t, kpt_oks_sigmas=keypoint_sigmas if t == "keypoints" else ()
            )
            for t in tasks or [task]
        }
        return cls(name, task, curves, compared(truth, results, task))

    @cached_property
    def pairs(self) -> Pairs:
        """Predictions and objects that overlap."""
        return overlapping_pairs(self.both, _BACKGROUND_IOU)

    @cached_property
    def errors(self) -> Errors:
        """What is wrong with the predictions."""
        return find_errors(self.both, self.pairs, background_iou=_BACKGROUND_IOU)

    @cached_property
    def class_precisions(self) -> Floats:
        """(K, 3) AP, AP50 and AP75 of the classes in percent; NaN without objects."""
        return _three(average_precisions(self._matched, np.ones((1, len(self.both.images)), int)))[
            0
        ]

    @cached_property
    def _matched(self) -> Any:
        return matched(self.both, self.pairs)

    def resampled(self, draws: Integers) -> Floats:
        """(B, K, 3) the same for images drawn anew."""
        return _three(average_precisions(self._matched, draws))

    def best_confidence(self) -> float:
        """From which on F1 is best."""
        return best_confidence(self.both, self.errors)

    def outcome(self, confidence: float) -> Outcome:
        """What a user sees who shows predictions from a confidence on."""
        return outcome(self.both, self.pairs, self.errors, confidence)


def _three(precisions: Floats) -> Floats:
    """AP, AP50 and AP75 of (..., 10) thresholds."""
    columns = [precisions[..., part].mean(axis=-1) for part in _RESAMPLED.values()]
    return np.stack(columns, axis=-1)


def all_figures(
    run: MeasuredRun, other: MeasuredRun | None, confidence: float, result: Outcome
) -> Figures:
    """What the page shows, as JSON knows it: numbers that cannot be computed are None.

    Args:
        run: what the report is about.
        other: what it is compared with.
        confidence: from which on predictions are shown.
        result: what a user sees then.
    """
    both = run.both
    count = _resamples(run, other)
    draws = draw_images(len(both.images), count, _SEED)
    resampled = run.resampled(draws)
    of_other = None if other is None else other.resampled(draws)
    bins, calibration_error = calibration(both, run.errors)
    figures: Figures = {
        "task": run.task,
        "name": run.name,
        "other": None if other is None else other.name,
        "confidence": confidence,
        "resamples": count,
        "images": len(both.images),
        "objects": int((~both.truths.crowd).sum()),
        "crowds": int(both.truths.crowd.sum()),
        "predictions": len(both.detections.scores),
        "shown": int((result.detections >= 0).sum()),
        "figures": _main_figures(run, other, resampled, of_other),
        "classes": _class_figures(run, other, result, resampled, of_other),
        "precision_recall": _precision_recall(run, other),
        "errors": _error_figures(run, other),
        "sizes": _parts(run, other, parts_by_size),
        "aspects": _parts(run, other, parts_by_aspect),
        "counts": _parts(run, other, parts_by_count),
        "calibration": {"bins": [b._asdict() for b in bins], "error": calibration_error},
        "confusions": _confusions(result, len(both.class_names)),
    }
    plain: Figures = _finite(figures)
    return plain


def _resamples(run: MeasuredRun, other: MeasuredRun | None) -> int:
    """As many as are drawn in seconds."""
    predictions = len(run.both.detections.scores)
    predictions += 0 if other is None else len(other.both.detections.scores)
    return int(
        np.clip(_RESAMPLED_PREDICTIONS // max(predictions, 1), _LEAST_RESAMPLES, _MOST_RESAMPLES)
    )


def _main_figures(
    run: MeasuredRun, other: MeasuredRun | None, resampled: Floats, of_other: Floats | None
) -> list[Figures]:
    """Metrics of each task; intervals of those that were resampled."""
    tables = []
    for task, curves in run.curves.items():
        metrics = curves.metrics()
        metrics |= {
            f"AR@{limit}": curves.average_recall(max_detections=limit)
            for limit in curves.max_detections
        }
        known = other.curves.get(task) if other is not None else None
        of_others = {} if known is None else known.metrics()
        if known is not None:
            of_others |= {
                f"AR@{limit}": known.average_recall(max_detections=limit)
                for limit in known.max_detections
            }
        rows = []
        for name, value in metrics.items():
            row: Figures = {"metric": name, "value": value, "other": of_others.get(name)}
            if task == run.task and name in _RESAMPLED:
                index = list(_RESAMPLED).index(name)
                values = _class_means(resampled[..., index])
                row["interval"] = interval(values)
                if of_other is not None:
                    row["difference"] = interval(values - _class_means(of_other[..., index]))
            rows.append(row)
        tables.append({"task": task, "rows": rows})
    return tables


def _class_means(values: Floats) -> Floats:
    """(B,) means over the classes that have objects."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means


def _class_figures(
    run: MeasuredRun,
    other: MeasuredRun | None,
    result: Outcome,
    resampled: Floats,
    of_other: Floats | None,
) -> list[Figures]:
    both, names = run.both, run.both.class_names
    kept = ~both.truths.crowd
    objects = np.bincount(both.truths.classes[kept], minlength=len(names))
    shown_classes = result.found_classes[result.detections >= 0]
    shown = np.bincount(shown_classes, minlength=len(names))
    rows = (result.detections >= 0) & (result.truths >= 0)
    rows &= result.truth_classes == result.found_classes
    hits = np.bincount(result.found_classes[rows], minlength=len(names))
    classes = []
    for label, name in enumerate(names):
        ap, ap50, ap75 = run.class_precisions[label].tolist()
        entry: Figures = {
            "name": name,
            "objects": int(objects[label]),
            "shown": int(shown[label]),
            "ap": ap,
            "ap50": ap50,
            "ap75": ap75,
            "precision": 100 * hits[label] / shown[label] if shown[label] else math.nan,
            "recall": 100 * hits[label] / objects[label] if objects[label] else math.nan,
            "interval": interval(resampled[:, label, 0]),
        }
        if other is not None and of_other is not None:
            entry["other"] = float(other.class_precisions[label, 0])
            entry["difference"] = interval(resampled[:, label, 0] - of_other[:, label, 0])
        classes.append(entry)
    return classes


def _precision_recall(run: MeasuredRun, other: MeasuredRun | None) -> Figures:
    curves = run.curves[run.task]
    known = None if other is None else other.curves[run.task]
    return {
        "recall": [round(float(r), 2) for r in curves.recall_thresholds],
        "mean": {f"{iou:g}": _rounded(curves.curve(iou)) for iou in (0.5, 0.75, 0.9)},
        "other": {}
        if known is None
        else {f"{iou:g}": _rounded(known.curve(iou)) for iou in (0.5, 0.75, 0.9)},
        "classes": [_rounded(curves.curve(0.5, name)) for name in curves.class_names],
    }


def _error_figures(run: MeasuredRun, other: MeasuredRun | None) -> Figures:
    def of(errors: Errors) -> Figures:
        return {
            "ap50": errors.average_precision,
            "costs": errors.costs,
            "counts": errors.counts,
            "false_positives": errors.cost_of_false_positives,
            "false_negatives": errors.cost_of_false_negatives,
            "correct": int((errors.considered & (errors.kinds == CORRECT)).sum()),
        }

    return {
        "kinds": list(KINDS),
        "run": of(run.errors),
        "other": None if other is None else of(other.errors),
    }


def _parts(run: MeasuredRun, other: MeasuredRun | None, divide: Any) -> list[Figures]:
    parts: list[Part] = divide(run.both)
    others: list[Part | None] = [None] * len(parts) if other is None else divide(other.both)
    return [
        part._asdict() | ({} if of_other is None else {"other": of_other.ap})
        for part, of_other in zip(parts, others, strict=True)
    ]


def _confusions(result: Outcome, classes: int) -> list[list[int]]:
    """Class, taken for which, how often; ``NOTHING`` for neither. Those that occur."""
    counts = confusion_counts(result, classes)
    rows, columns = np.nonzero(counts)
    return [
        [
            NOTHING if row == classes else int(row),
            NOTHING if column == classes else int(column),
            int(counts[row, column]),
        ]
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 4) for value in values]


def _finite(value: Any) -> Any:
    """The same for JSON, which knows no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
