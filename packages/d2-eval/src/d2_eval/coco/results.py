"""COCO's average precision of entries in its result format.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014;
https://cocodataset.org/#detection-eval and https://cocodataset.org/#keypoints-eval.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2_eval.coco.curves import CocoCurves
from d2_eval.coco.fast import fast_precision_recall
from d2_eval.coco.ground_truth import CocoGroundTruth, as_ground_truth
from d2_eval.coco.official import official_precision_recall
from d2_eval.coco.result_arrays import results_count
from d2_eval.coco.result_checks import bad_mask, check_results
from d2_eval.coco.result_entries import results_of
from d2_eval.coco.result_files import read_result_columns
from d2_eval.coco.settings import FIELDS, CocoSettings, Task
from d2_ops.host import CocoResults

Results = CocoResults | Sequence[dict[str, Any]]
"""Predictions as columns, or as entries of COCO's result format."""


def evaluate_coco_results(
    ground_truth: CocoGroundTruth | str | os.PathLike[str],
    results: Results | str | os.PathLike[str],
    task: Task | CocoSettings,
    *,
    max_detections: int | None = None,
    kpt_oks_sigmas: Sequence[float] = (),
    image_ids: Sequence[int] | None = None,
    use_fast_impl: bool = True,
) -> CocoCurves:
    """Match COCO results with annotations and compute precision and recall.

    Args:
        ground_truth: annotations, a dataset's name, or a COCO annotation file.
        results: entries of COCO's result format with the dataset's category ids, the same as
            columns (:class:`d2_ops.host.CocoResults`), or a file of them. Left unchanged. The area
            of a detection is that of its box where it has one, except for masks.
        task: ``"bbox"``, ``"rotated_bbox"``, ``"segm"``, ``"boundary"`` (masks and their outlines)
            or ``"keypoints"``; or own settings, which replace ``max_detections`` and
            ``kpt_oks_sigmas``.
        max_detections: most detections per image that count, by default 100 (20 for keypoints).
        kpt_oks_sigmas: per keypoint the tolerance of COCO's similarity; empty uses COCO's 17.
        image_ids: evaluate only these images.
        use_fast_impl: False computes with pycocotools. The numbers are the same.

    Raises:
        ValueError: if a result belongs to an unknown image or category, lacks a field, has a score
            that is not finite or a mask of another size than its image, or the number of
            keypoints, sigmas and annotated keypoints differ.
    """
    settings = (
        task
        if isinstance(task, CocoSettings)
        else CocoSettings.standard(
            task, max_detections=max_detections, keypoint_sigmas=kpt_oks_sigmas
        )
    )
    truth, found = as_ground_truth(ground_truth), as_columns(results, settings.task)
    check_results(truth, found, settings.task)
    if settings.task == "keypoints":
        _check_keypoints(truth, found, settings)
    evaluate = fast_precision_recall if use_fast_impl else official_precision_recall
    images = list(truth.coco.imgs if image_ids is None else image_ids)
    try:
        computed = evaluate(truth, found, settings, images)
    except ValueError as error:
        named = bad_mask(found) if FIELDS[settings.task] == "segmentation" else None
        if named is None:
            raise
        raise named from error
    return CocoCurves.of(settings, truth.class_names, computed)


def as_columns(
    results: Results | str | os.PathLike[str], task: Task, *, boxes_too: bool = False
) -> CocoResults:
    """Return predictions as columns; read those that a file holds.

    Args:
        results: the predictions.
        task: what is compared.
        boxes_too: whether boxes are wanted beside, if there are any.

    Raises:
        ValueError: see :func:`~d2_eval.coco.result_entries.results_of`.
    """
    if isinstance(results, str | os.PathLike):
        results = read_result_columns(Path(results))
    if isinstance(results, CocoResults):
        return results
    return results_of(results, task, boxes_too=boxes_too)


def _check_keypoints(truth: CocoGroundTruth, results: CocoResults, settings: CocoSettings) -> None:
    annotated = next(
        (len(a["keypoints"]) // 3 for a in truth.coco.anns.values() if a.get("keypoints")), None
    )
    if annotated is None:
        raise ValueError(f"{truth.name!r} has no keypoint annotations to compare with")
    points = results.keypoints if results_count(results) else None
    predicted = annotated if points is None else points.shape[1] // 3
    tolerances = len(settings.keypoint_sigmas)
    if not annotated == predicted == tolerances:
        raise ValueError(
            f"{truth.name!r} has {annotated} keypoints per object, the predictions have "
            f"{predicted} and there are {tolerances} OKS sigmas; give kpt_oks_sigmas of the same "
            "length"
        )
