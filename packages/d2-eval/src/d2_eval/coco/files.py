"""COCO's metrics from files alone: predictions of whatever system, and annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.results import evaluate_coco_results
from d2_eval.coco.settings import FIELDS, Task, checked_tasks
from d2_eval.prediction_values import report_unusual_scores, scores_of

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
    results = read_results(Path(predictions))
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
        error.add_note(f"results are counted from 0 in {str(predictions)!r}")
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


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read a file in COCO's result format.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, or no list of objects.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of predictions {str(path)!r}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"the file of predictions {str(path)!r} is not valid JSON ({error}); it may have "
            "been cut short: write or fetch it again"
        ) from error
    wanted = "wanted COCO's result format, a list of objects with image_id, category_id and score"
    if not isinstance(content, list):
        got = f"an object with {sorted(content)[:6]}" if isinstance(content, dict) else content
        raise ValueError(f"{str(path)!r} holds {got}; {wanted}")
    for index, result in enumerate(content):
        if not isinstance(result, dict):
            raise ValueError(f"result {index} in {str(path)!r} is {result!r}; {wanted}")
    report_unusual_scores(scores_of(content), str(path))
    return content


def tasks_of(results: Sequence[dict[str, Any]], truth: CocoGroundTruth) -> list[Task]:
    """Return the tasks that results, or else annotations, have fields for.

    Raises:
        ValueError: if there are none.
    """
    entries = results or list(truth.coco.anns.values())
    tasks = [task for task in _INFERRED if any(entry.get(FIELDS[task]) for entry in entries)]
    if not tasks:
        raise ValueError(
            f"the predictions have none of {', '.join(FIELDS[task] for task in _INFERRED)}"
        )
    if "bbox" in tasks and any(len(entry.get("bbox") or ()) == 5 for entry in entries):
        tasks[0] = "rotated_bbox"
    return tasks
