"""COCO's precision and recall from the kernels of d2-ops: pycocotools' numbers, much sooner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.overlaps import Overlaps, by_outline, by_rotated_box
from d2_eval.coco.result_arrays import chosen_results, known_numbers, places_of
from d2_eval.coco.result_entries import rotated_boxes
from d2_eval.coco.settings import FIELDS, CocoSettings, Task
from d2_eval.coco.targets import completed
from d2_ops.host import (
    CocoDetections,
    CocoGroundTruths,
    CocoPrecisionRecall,
    CocoResults,
    coco_evaluate,
    packed_rle_areas,
    polygons_to_rle,
    unpack_rles,
)

_KERNELS: Mapping[Task, Literal["bbox", "segm", "keypoints"]] = {
    "bbox": "bbox",
    "rotated_bbox": "bbox",
    "segm": "segm",
    "boundary": "segm",
    "keypoints": "keypoints",
}


def fast_precision_recall(
    truth: CocoGroundTruth,
    results: CocoResults,
    settings: CocoSettings,
    image_ids: Sequence[Any],
) -> CocoPrecisionRecall:
    """Evaluate results with the categories in the model's order.

    Args:
        truth: the annotations; left as they are.
        results: predictions of known images and categories.
        settings: thresholds, sizes and limits.
        image_ids: the images that count.
    """
    images = known_numbers(sorted_ids(image_ids))
    categories = known_numbers(truth.category_ids)
    annotations = (
        truth.coco.anns[annotation["id"]]  # pycocotools knows an annotation by its id, too
        for image in images
        for annotation in truth.coco.imgToAnns.get(image, ())
    )
    wanted = completed(truth, (a for a in annotations if a["category_id"] in categories), settings)
    found, found_images, found_categories = found_places(results, images, categories)
    compared = compared_fields(truth, wanted, found, settings)
    return coco_evaluate(
        CocoGroundTruths(
            **image_and_category(wanted, images, categories),
            areas=np.array(_column(wanted, "area"), np.float64),
            crowd=np.array([bool(a["iscrowd"]) for a in wanted]),
            ignored=np.array([_ignored(a, settings.task) for a in wanted]),
            ids=np.array(_column(wanted, "id")),
            **compared.wanted,
        ),
        CocoDetections(
            images=found_images,
            categories=found_categories,
            scores=found.scores,
            **compared.found,
        ),
        _KERNELS[settings.task],
        num_categories=len(categories),
        iou_thresholds=settings.iou_thresholds,
        recall_thresholds=settings.recall_thresholds,
        area_ranges=settings.area_ranges,
        max_detections=settings.max_detections,
        keypoint_sigmas=settings.keypoint_sigmas,
        overlaps=compared.overlaps,
    )


def found_places(
    results: CocoResults, images: Mapping[Any, int], categories: Mapping[Any, int]
) -> tuple[CocoResults, np.ndarray, np.ndarray]:
    """Return the N predictions that count, and the numbers of their images and categories.

    Args:
        results: predictions.
        images: numbers of the images that count.
        categories: numbers of the categories that count.

    Returns:
        The predictions, and two times (N,) int64. Nothing is copied where all count.
    """
    places = places_of(results.images, images), places_of(results.categories, categories)
    rows = (places[0] >= 0) & (places[1] >= 0)
    if rows.all():
        return results, *places
    return chosen_results(results, rows), places[0][rows], places[1][rows]


class ComparedFields(NamedTuple):
    """What of the objects a task compares.

    Attributes:
        wanted: of the annotated objects, arguments of ``CocoGroundTruths``.
        found: of the predictions, arguments of ``CocoDetections``.
        overlaps: how to compare, where the kernels do not know; else None.
    """

    wanted: dict[str, Any]
    found: dict[str, Any]
    overlaps: Overlaps | None = None


def compared_fields(
    truth: CocoGroundTruth,
    wanted: Sequence[dict[str, Any]],
    found: CocoResults,
    settings: CocoSettings,
) -> ComparedFields:
    """Return what the kernels need beside images, categories and scores.

    Args:
        truth: the annotations.
        wanted: those that count, completed.
        found: the predictions that count.
        settings: of the task.
    """
    crowd = np.array([bool(a["iscrowd"]) for a in wanted], bool)
    if settings.task == "rotated_bbox":
        boxes = rotated_boxes(_given(found.boxes, 5))
        truth_boxes = rotated_boxes(_column(wanted, "bbox"))
        areas = boxes[:, 2] * boxes[:, 3]
        return ComparedFields({}, {"areas": areas}, by_rotated_box(boxes, truth_boxes, crowd))
    if FIELDS[settings.task] == "segmentation":
        truth_masks = [truth_mask(truth, annotation) for annotation in wanted]
        masks = [] if found.masks is None else found.masks
        if settings.task == "segm":
            return ComparedFields({"masks": truth_masks}, {"masks": masks})
        listed = [] if found.masks is None else unpack_rles(found.masks)
        areas = np.zeros(0) if found.masks is None else packed_rle_areas(found.masks)
        compare = by_outline(listed, truth_masks, crowd, settings.boundary_ratio)
        return ComparedFields({}, {"areas": areas}, compare)
    truth_boxes = np.array(_column(wanted, "bbox"), np.float64)
    if settings.task == "bbox":
        return ComparedFields({"boxes": truth_boxes}, {"boxes": _given(found.boxes, 4)})
    points = 3 * len(settings.keypoint_sigmas)
    truth_points = np.array(_column(wanted, "keypoints"), np.float64).reshape(len(wanted), points)
    return ComparedFields(
        {"boxes": truth_boxes, "keypoints": truth_points},
        {"areas": _areas_beside_keypoints(found), "keypoints": _given(found.keypoints, points)},
    )


def _given(column: np.ndarray | None, width: int) -> np.ndarray:
    """A column of predictions; one without rows where there are none at all."""
    return np.empty((0, width)) if column is None or len(column) == 0 else column


def sorted_ids(ids: Iterable[Any]) -> list[Any]:
    """Ids in the order of pycocotools, each once; numbers before text."""
    return sorted(set(ids), key=lambda identity: (isinstance(identity, str), identity))


def _column(entries: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    return [entry[key] for entry in entries]


def image_and_category(
    entries: Sequence[Mapping[str, Any]], images: Mapping[Any, int], categories: Mapping[Any, int]
) -> dict[str, Any]:
    """Return the numbers of the images and categories of N entries, each (N,) int64."""
    return {
        "images": np.array([images[entry["image_id"]] for entry in entries], np.int64),
        "categories": np.array([categories[entry["category_id"]] for entry in entries], np.int64),
    }


def _ignored(annotation: Mapping[str, Any], task: str) -> bool:
    unlabelled = task == "keypoints" and annotation["num_keypoints"] == 0
    return bool(annotation["iscrowd"]) or unlabelled


def _areas_beside_keypoints(results: CocoResults) -> np.ndarray | None:
    """As pycocotools: of the box, else of the mask; None for the keypoints' extent."""
    if results.boxes is not None:
        areas: np.ndarray = results.boxes[:, 2] * results.boxes[:, 3]
        return areas
    return None if results.masks is None else packed_rle_areas(results.masks)


def truth_mask(truth: CocoGroundTruth, annotation: dict[str, Any]) -> Mapping[str, Any]:
    """Return the mask of an annotation as run lengths."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list) and all(len(polygon) >= 6 for polygon in segmentation):
        image = truth.coco.imgs[annotation["image_id"]]
        return polygons_to_rle(segmentation, image["height"], image["width"])
    rle: Mapping[str, Any] = truth.coco.annToRLE(annotation)
    return rle
