"""LVIS' metrics from files alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from d2_eval.coco.files import read_ground_truth, tasks_of
from d2_eval.coco.result_files import read_result_columns
from d2_eval.coco.settings import checked_tasks
from d2_eval.lvis.results import (
    DETECTIONS_PER_IMAGE,
    LvisTask,
    lvis_curves,
    lvis_scores,
)


def evaluate_lvis_files(
    predictions: str | os.PathLike[str],
    ground_truth: str | os.PathLike[str],
    tasks: Sequence[LvisTask] | None = None,
    *,
    max_detections: int = DETECTIONS_PER_IMAGE,
    fixed_ap: bool = False,
    mask_areas: bool = False,
) -> dict[str, dict[str, float]]:
    """Compare a file of predictions with a file of LVIS' annotations.

    Args:
        predictions: COCO's result format; ids are those of the annotations.
        ground_truth: LVIS' annotation format.
        tasks: ``"bbox"``, ``"segm"`` or both; by default what the predictions have.
        max_detections: most detections of an image, of all classes, that count.
        fixed_ap: also ``bbox_fixed`` and ``segm_fixed``; see :class:`~d2_eval.LVISEvaluator`.
        mask_areas: see :func:`~d2_eval.evaluate_lvis_results`; ``LVISEvaluator`` does so.

    Returns:
        For each task the scores of :func:`~d2_eval.lvis.lvis_scores`.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is not what it should be, or predictions and annotations do not
            belong together.
    """
    results = read_result_columns(Path(predictions))
    truth = read_ground_truth(Path(ground_truth))
    wanted = checked_tasks(tasks or None, ("bbox", "segm")) or tasks_of(results, truth)
    scores: dict[str, dict[str, float]] = {}
    try:
        for task in wanted:
            if task not in ("bbox", "segm"):
                continue
            curves = lvis_curves(
                truth,
                results,
                task,
                max_detections=max_detections,
                fixed_ap=fixed_ap,
                mask_areas=mask_areas,
            )
            scores |= {name: lvis_scores(truth, one) for name, one in curves.items()}
    except ValueError as error:
        error.add_note(
            f"results are counted from 0 in {str(predictions)!r}; annotations are those of "
            f"{str(ground_truth)!r}"
        )
        raise
    return scores
