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
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from d2_eval.coco.curves import CocoCurves, mean_percent
from d2_eval.coco.fast import compared_fields, image_and_category, sorted_ids
from d2_eval.coco.ground_truth import CocoGroundTruth, as_ground_truth
from d2_eval.coco.result_arrays import chosen_results, known_numbers, places_of, results_count
from d2_eval.coco.result_checks import bad_mask, check_results
from d2_eval.coco.results import Results, as_columns
from d2_eval.coco.settings import CocoSettings
from d2_eval.coco.targets import completed
from d2_ops.host import (
    CocoDetections,
    CocoGroundTruths,
    CocoPrecisionRecall,
    CocoResults,
    coco_evaluate,
    packed_rle_areas,
)

LvisTask = Literal["bbox", "segm"]

DETECTIONS_PER_IMAGE = 300
DETECTIONS_PER_CLASS = 10_000

FREQUENCIES: Mapping[str, str] = MappingProxyType({"APr": "r", "APc": "c", "APf": "f"})
"""Metrics of some classes, and the ``frequency`` of those."""

_BEYOND_ALL_SIZES = 1e300


def evaluate_lvis_results(
    ground_truth: CocoGroundTruth | str | os.PathLike[str],
    results: Results | str | os.PathLike[str],
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
        results: entries of COCO's result format, the same as columns, or a file of them. Left
            unchanged.
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
    truth = as_ground_truth(ground_truth)
    results = as_columns(results, task, boxes_too=not mask_areas)
    check_results(truth, results, task)
    by_box = task == "bbox" or (not mask_areas and results.boxes is not None)
    if by_box and task != "bbox":
        check_results(truth, results, "bbox")
    images = sorted_ids(truth.coco.imgs if image_ids is None else image_ids)
    chosen = chosen_results(results, places_of(results.images, known_numbers(images)) >= 0)
    kept = _best(
        chosen,
        chosen.categories if fixed else chosen.images,
        DETECTIONS_PER_CLASS if fixed else max_detections,
    )
    wanted = [a for image in images for a in truth.coco.imgToAnns.get(image, ())]
    found, open_ended = _counted(truth, kept, wanted)
    settings = CocoSettings(task, max_detections=(max(results_count(found), 1),))
    try:
        areas = np.where(open_ended, _BEYOND_ALL_SIZES, _areas(found, by_box))
        computed = _computed(truth, wanted, found, areas, settings, images)
    except ValueError as error:
        named = bad_mask(results) if task == "segm" else None
        if named is None:
            raise
        raise named from error
    return CocoCurves.of(settings, truth.class_names, computed)


def lvis_curves(
    truth: CocoGroundTruth,
    results: Results,
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


def _best(results: CocoResults, groups: np.ndarray, limit: int) -> CocoResults:
    """Those with the highest scores among results of the same group, the first of equal ones."""
    names = {one: number for number, one in enumerate(dict.fromkeys(groups.tolist()))}
    numbers = places_of(groups, names)
    order = np.lexsort((-results.scores, numbers))
    ordered = numbers[order]
    places = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = np.ones(len(order), bool)
    kept[order[places >= limit]] = False
    return chosen_results(results, kept)


def _counted(
    truth: CocoGroundTruth, results: CocoResults, wanted: Iterable[Mapping[str, Any]]
) -> tuple[CocoResults, np.ndarray]:
    """The results of which it is known whether they are right, and which may find more."""
    images, categories = known_numbers(truth.coco.imgs), known_numbers(truth.coco.cats)
    checked = [_pair(images[a["image_id"]], categories[a["category_id"]]) for a in wanted]
    partial: list[int] = []
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
            pairs.extend(
                _pair(images[image["id"]], categories[one])
                for one in image[key]
                if one in categories
            )
    of_results = _pair(places_of(results.images, images), places_of(results.categories, categories))
    kept = np.isin(of_results, np.array(checked, np.int64))
    open_ended = np.isin(of_results[kept], np.array(partial, np.int64))
    return chosen_results(results, kept), open_ended


def _pair(image: Any, category: Any) -> Any:
    """One number for both, which are below 2³¹."""
    return image * 2**31 + category


def _areas(results: CocoResults, by_box: bool) -> np.ndarray:
    if results_count(results) == 0:
        return np.zeros(0)
    if by_box:
        assert results.boxes is not None
        areas: np.ndarray = results.boxes[:, 2] * results.boxes[:, 3]
        return areas
    assert results.masks is not None
    return packed_rle_areas(results.masks).astype(np.float64)


def _computed(
    truth: CocoGroundTruth,
    annotations: Sequence[dict[str, Any]],
    results: CocoResults,
    areas: np.ndarray,
    settings: CocoSettings,
    images: Sequence[Any],
) -> CocoPrecisionRecall:
    """Precision and recall; outside all ranges of areas a detection without object is no error."""
    categories, places = known_numbers(truth.category_ids), known_numbers(images)
    wanted = completed(truth, (a for a in annotations if a["category_id"] in categories), settings)
    numbers = places_of(results.categories, categories)
    rows = numbers >= 0
    found = chosen_results(results, rows)
    compared = compared_fields(truth, wanted, found, settings)
    return coco_evaluate(
        CocoGroundTruths(
            **image_and_category(wanted, places, categories),
            areas=np.array([one["area"] for one in wanted], np.float64),
            ignored=np.array([bool(one.get("ignore")) for one in wanted], bool),
            **compared.wanted,
        ),
        CocoDetections(
            images=places_of(found.images, places),
            categories=numbers[rows],
            scores=found.scores,
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
