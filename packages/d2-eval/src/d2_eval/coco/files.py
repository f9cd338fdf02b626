"""COCO's metrics from files alone: predictions of whatever system, and annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.result_arrays import column_of, results_count
from d2_eval.coco.result_files import read_result_columns
from d2_eval.coco.results import Results, evaluate_coco_results
from d2_eval.coco.settings import FIELDS, Task, checked_tasks
from d2_ops.host import CocoResults

_INFERRED: tuple[Task, ...] = ("bbox", "segm", "keypoints")


def evaluate_coco_files(
    predictions: str | os.PathLike[str],
    ground_truth: str | os.PathLike[str],
    tasks: Sequence[Task] | None = None,
    *,
    kpt_oks_sigmas: Sequence[float] = (),
    max_detections: int | None = None,
) -> dict[str, dict[str, float]]:
    """Compare a file of predictions with a file of annotations.

    Args:
        predictions: COCO's result format, a list of ``{"image_id", "category_id", "score"}`` with
            ``"bbox"``, ``"segmentation"`` or ``"keypoints"``; ids are those of the annotations.
        ground_truth: COCO's annotation format.
        tasks: some of ``"bbox"``, ``"rotated_bbox"``, ``"segm"``, ``"boundary"``,
            ``"keypoints"``; by default those that the predictions have fields for, or, if there
            are none at all, the annotations. Outlines have to be asked for.
        kpt_oks_sigmas: per keypoint the tolerance of COCO's similarity; empty uses COCO's 17.
        max_detections: most detections per image that count for boxes and masks, by default 100.

    Returns:
        For each task the metrics of :meth:`CocoCurves.metrics` in percent and, with several
        classes, ``AP-{class}``; NaN where there is no ground truth.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is not what it should be, or predictions and annotations do not
            belong together.
    """
    results = read_result_columns(Path(predictions))
    truth = read_ground_truth(Path(ground_truth))
    scores: dict[str, dict[str, float]] = {}
    try:
        for task in checked_tasks(tasks or None) or tasks_of(results, truth):
            curves = evaluate_coco_results(
                truth,
                results,
                task,
                max_detections=None if task == "keypoints" else max_detections,
                kpt_oks_sigmas=kpt_oks_sigmas,
            )
            scores[task] = curves.scores_by_name()
    except ValueError as error:
        error.add_note(
            f"results are counted from 0 in {str(predictions)!r}; annotations are those of "
            f"{str(ground_truth)!r}"
        )
        raise
    return scores


def read_ground_truth(path: Path) -> CocoGroundTruth:
    """Read the annotations of a file that must have some.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no annotations, or see :meth:`CocoGroundTruth.load`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation file {str(path)!r}")
    truth = CocoGroundTruth.load(path)
    truth.check_has_annotations(str(path))
    return truth


def tasks_of(results: Results, truth: CocoGroundTruth) -> list[Task]:
    """Return the tasks that results, or else annotations, have fields for.

    Raises:
        ValueError: if there are none.
    """
    if isinstance(results, CocoResults) and results_count(results):
        return _tasks_of_columns(results)
    entries = list(truth.coco.anns.values())
    if not isinstance(results, CocoResults) and results:
        entries = list(results)
    tasks = [task for task in _INFERRED if any(entry.get(FIELDS[task]) for entry in entries)]
    _refuse_nothing(tasks)
    if "bbox" in tasks and any(len(entry.get("bbox") or ()) == 5 for entry in entries):
        tasks[0] = "rotated_bbox"
    return tasks


def _tasks_of_columns(results: CocoResults) -> list[Task]:
    tasks = [task for task in _INFERRED if column_of(results, task) is not None]
    _refuse_nothing(tasks)
    if results.boxes is not None and results.boxes.shape[1] == 5:
        tasks[0] = "rotated_bbox"
    return tasks


def _refuse_nothing(tasks: Sequence[Task]) -> None:
    if not tasks:
        raise ValueError(
            f"the predictions have none of {', '.join(FIELDS[task] for task in _INFERRED)}"
        )
