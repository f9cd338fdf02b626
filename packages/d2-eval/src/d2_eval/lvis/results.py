"""LVIS' average precision of entries in COCO's result format.

Not every object of every class is annotated in an image of LVIS. An image lists classes that are
not in it (``neg_category_ids``), and classes of which only some objects are annotated
(``not_exhaustive_category_ids``). A detection counts only if its class is annotated in the image or
listed as absent; one that finds nothing is no error where its class is not exhaustive.

Source: Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", 2019; Dave et
al., "Evaluating Large-Vocabulary Object Detectors: The Devil is in the Details", 2021.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from d2_eval.coco.curves import CocoCurves, mean_percent
from d2_eval.coco.fast import compared_fields, image_and_category, sorted_ids
from d2_eval.coco.ground_truth import CocoGroundTruth, as_ground_truth
from d2_eval.coco.result_checks import check_results, name_bad_mask
from d2_eval.coco.results import as_entries
from d2_eval.coco.settings import CocoSettings
from d2_eval.coco.targets import completed
from d2_ops.host import (
    CocoDetections,
    CocoGroundTruths,
    CocoPrecisionRecall,
    coco_evaluate,
    rle_area,
)

LvisTask = Literal["bbox", "segm"]

DETECTIONS_PER_IMAGE = 300
DETECTIONS_PER_CLASS = 10_000

FREQUENCIES: Mapping[str, str] = MappingProxyType({"APr": "r", "APc": "c", "APf": "f"})
"""Metrics of some classes, and the ``frequency`` of those."""

_BEYOND_ALL_SIZES = 1e300


def evaluate_lvis_results(
    ground_truth: CocoGroundTruth | str | os.PathLike[str],
    results: Sequence[dict[str, Any]] | str | os.PathLike[str],
    task: LvisTask,
    *,
    max_detections: int = DETECTIONS_PER_IMAGE,
    fixed: bool = False,
    mask_areas: bool = False,
    image_ids: Sequence[Any] | None = None,
) -> CocoCurves:
    """Match results with LVIS' annotations and compute precision and recall.

    Args:
        ground_truth: annotations, a dataset's name, or an LVIS annotation file.
        results: entries of COCO's result format, or a file of them. Left unchanged.
        task: ``"bbox"`` or ``"segm"``.
        max_detections: most detections of an image, of all classes, that count.
        fixed: count the best 10 000 detections of each class in the whole dataset instead, so
            that classes do not compete for places in an image.
        mask_areas: a detected mask is as large as its mask even where the first result has a box
            beside it, by whose area lvis 0.5.3 goes.
        image_ids: evaluate only these images.

    Returns:
        The curves of all classes; :func:`lvis_scores` makes the metrics of them.

    Raises:
        ValueError: for another task, if a result does not fit the annotations, or images lack
            ``neg_category_ids`` or ``not_exhaustive_category_ids``.
    """
    if task not in ("bbox", "segm"):
        raise ValueError(f"LVIS' tasks are 'bbox' and 'segm', got {task!r}")
    truth, entries = as_ground_truth(ground_truth), as_entries(results)
    check_results(truth, entries, task)
    images = sorted_ids(truth.coco.imgs if image_ids is None else image_ids)
    chosen = set(images)
    kept = _best(
        [entry for entry in entries if entry["image_id"] in chosen],
        "category_id" if fixed else "image_id",
        DETECTIONS_PER_CLASS if fixed else max_detections,
    )
    wanted = [a for image in images for a in truth.coco.imgToAnns.get(image, ())]
    found, open_ended = _counted(truth, kept, wanted)
    by_box = task == "bbox" or (not mask_areas and bool(entries) and bool(entries[0].get("bbox")))
    if by_box and task == "segm":
        check_results(truth, entries, "bbox")
    settings = CocoSettings(task, max_detections=(max(len(found), 1),))
    try:
        areas = np.where(open_ended, _BEYOND_ALL_SIZES, _areas(found, by_box))
        computed = _computed(truth, wanted, found, areas, settings, images)
    except ValueError as error:
        if task != "segm":
            raise
        raise name_bad_mask(entries, error) from error
    return CocoCurves.of(settings, truth.class_names, computed)


def lvis_curves(
    truth: CocoGroundTruth,
    results: Sequence[dict[str, Any]],
    task: LvisTask,
    *,
    max_detections: int,
    fixed_ap: bool,
    mask_areas: bool,
    image_ids: Sequence[Any] | None = None,
) -> dict[str, CocoCurves]:
    """Return the curves of a task under its name and, if ``fixed_ap``, as ``{task}_fixed``.

    Arguments are otherwise those of :func:`evaluate_lvis_results`.
    """
    kinds = {str(task): False} | ({f"{task}_fixed": True} if fixed_ap else {})
    return {
        name: evaluate_lvis_results(
            truth,
            results,
            task,
            max_detections=max_detections,
            fixed=fixed,
            mask_areas=mask_areas,
            image_ids=image_ids,
        )
        for name, fixed in kinds.items()
    }


def lvis_scores(truth: CocoGroundTruth, curves: CocoCurves) -> dict[str, float]:
    """Return AP, AP50, AP75, APs, APm, APl, and AP of rare, common and frequent classes.

    Args:
        truth: whose categories have a ``frequency``: ``"r"``, ``"c"`` or ``"f"``.
        curves: of its classes.

    Returns:
        Percent; NaN where no class of the kind has ground truth.
    """
    scores = curves.metrics()
    frequencies = [truth.coco.cats[number].get("frequency") for number in truth.category_ids]
    for name, frequency in FREQUENCIES.items():
        chosen = np.array([one == frequency for one in frequencies], bool)
        precision = curves.precision[:, :, chosen, curves.areas.index("all"), -1]
        scores[name] = mean_percent(precision)
    return scores


def _best(results: Sequence[dict[str, Any]], key: str, limit: int) -> Sequence[dict[str, Any]]:
    """Those with the highest scores among results with the same value, the first of equal ones."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for row, result in enumerate(results):
        groups[result[key]].append(row)
    if all(len(rows) <= limit for rows in groups.values()):
        return results
    kept: list[int] = []
    for rows in groups.values():
        kept += sorted(rows, key=lambda row: -results[row]["score"])[:limit]
    return [results[row] for row in sorted(kept)]


def _counted(
    truth: CocoGroundTruth, results: Iterable[dict[str, Any]], wanted: Iterable[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The results of which it is known whether they are right, and which may find more."""
    checked: set[tuple[Any, Any]] = {(a["image_id"], a["category_id"]) for a in wanted}
    partial: set[tuple[Any, Any]] = set()
    for image in truth.coco.imgs.values():
        for key, pairs in (
            ("neg_category_ids", checked),
            ("not_exhaustive_category_ids", partial),
        ):
            if key not in image:
                raise ValueError(
                    f"image {image['id']!r} of {truth.name!r} has no {key!r}: this is no "
                    "annotation file of LVIS; evaluate it with COCO's metrics"
                )
            pairs.update((image["id"], category) for category in image[key])
    found, open_ended = [], []
    for result in results:
        pair = result["image_id"], result["category_id"]
        if pair in checked:
            found.append(result)
            open_ended.append(pair in partial)
    return found, np.array(open_ended, bool)


def _areas(results: Sequence[Mapping[str, Any]], by_box: bool) -> np.ndarray:
    if by_box:
        return np.array([one["bbox"][2] * one["bbox"][3] for one in results], np.float64)
    return np.asarray(rle_area([one["segmentation"] for one in results]), np.float64).reshape(-1)


def _computed(
    truth: CocoGroundTruth,
    annotations: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    areas: np.ndarray,
    settings: CocoSettings,
    images: Sequence[Any],
) -> CocoPrecisionRecall:
    """Precision and recall; outside all ranges of areas a detection without object is no error."""
    categories = {number: index for index, number in enumerate(truth.category_ids)}
    places = {number: index for index, number in enumerate(images)}
    wanted = completed(truth, (a for a in annotations if a["category_id"] in categories), settings)
    rows = [row for row, one in enumerate(results) if one["category_id"] in categories]
    found = [results[row] for row in rows]
    compared = compared_fields(truth, wanted, found, settings)
    return coco_evaluate(
        CocoGroundTruths(
            **image_and_category(wanted, places, categories),
            areas=np.array([one["area"] for one in wanted], np.float64),
            ignored=np.array([bool(one.get("ignore")) for one in wanted], bool),
            **compared.wanted,
        ),
        CocoDetections(
            **image_and_category(found, places, categories),
            scores=np.array([one["score"] for one in found], np.float64),
            areas=areas[rows],
            **compared.found,
        ),
        "bbox" if settings.task == "bbox" else "segm",
        num_categories=len(categories),
        iou_thresholds=settings.iou_thresholds,
        recall_thresholds=settings.recall_thresholds,
        area_ranges=settings.area_ranges,
        max_detections=settings.max_detections,
    )
