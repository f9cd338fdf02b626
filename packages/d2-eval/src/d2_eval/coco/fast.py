"""COCO's precision and recall from the kernels of d2-ops: pycocotools' numbers, much sooner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.overlaps import Overlaps, by_outline, by_rotated_box
from d2_eval.coco.settings import FIELDS, CocoSettings, Task
from d2_eval.coco.targets import completed
from d2_ops.host import (
    CocoDetections,
    CocoGroundTruths,
    CocoPrecisionRecall,
    coco_evaluate,
    polygons_to_rle,
    rle_area,
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
    results: Sequence[dict[str, Any]],
    settings: CocoSettings,
    image_ids: Sequence[Any],
) -> CocoPrecisionRecall:
    """Evaluate results with the categories in the model's order.

    Args:
        truth: the annotations; left as they are.
        results: entries of COCO's result format, of known images and categories.
        settings: thresholds, sizes and limits.
        image_ids: the images that count.
    """
    images = {image: index for index, image in enumerate(sorted_ids(image_ids))}
    categories = {category: index for index, category in enumerate(truth.category_ids)}
    annotations = (
        truth.coco.anns[annotation["id"]]  # pycocotools knows an annotation by its id, too
        for image in images
        for annotation in truth.coco.imgToAnns.get(image, ())
    )
    wanted = completed(truth, (a for a in annotations if a["category_id"] in categories), settings)
    found = [r for r in results if r["image_id"] in images and r["category_id"] in categories]
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
            **image_and_category(found, images, categories),
            scores=np.array(_column(found, "score"), np.float64),
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
    found: Sequence[dict[str, Any]],
    settings: CocoSettings,
) -> ComparedFields:
    """Return what the kernels need beside images, categories and scores.

    Args:
        truth: the annotations.
        wanted: those that count, completed.
        found: entries of COCO's result format that count.
        settings: of the task.
    """
    crowd = np.array([bool(a["iscrowd"]) for a in wanted], bool)
    if settings.task == "rotated_bbox":
        boxes, truth_boxes = (rotated_boxes(_column(e, "bbox")) for e in (found, wanted))
        areas = boxes[:, 2] * boxes[:, 3]
        return ComparedFields({}, {"areas": areas}, by_rotated_box(boxes, truth_boxes, crowd))
    if FIELDS[settings.task] == "segmentation":
        masks, truth_masks = _column(found, "segmentation"), [truth_mask(truth, a) for a in wanted]
        if settings.task == "segm":
            return ComparedFields({"masks": truth_masks}, {"masks": masks})
        areas = np.asarray(rle_area(masks), np.float64).reshape(len(found))
        compare = by_outline(masks, truth_masks, crowd, settings.boundary_ratio)
        return ComparedFields({}, {"areas": areas}, compare)
    truth_boxes = np.array(_column(wanted, "bbox"), np.float64)
    if settings.task == "bbox":
        return ComparedFields(
            {"boxes": truth_boxes}, {"boxes": np.array(_column(found, "bbox"), np.float64)}
        )
    return ComparedFields(
        {"boxes": truth_boxes, "keypoints": _keypoints(wanted, settings)},
        {"areas": _areas_beside_keypoints(found), "keypoints": _keypoints(found, settings)},
    )


def rotated_boxes(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """Return boxes with their angles.

    Args:
        boxes: of 5 numbers: centre x, centre y, width, height, degrees; or of 4: x, y, width,
            height.

    Returns:
        (N, 5) float64.
    """
    rows = [
        box if len(box) == 5 else (box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3], 0.0)
        for box in boxes
    ]
    return np.array(rows, np.float64).reshape(-1, 5)


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


def _keypoints(entries: Sequence[Mapping[str, Any]], settings: CocoSettings) -> np.ndarray:
    points = np.array(_column(entries, "keypoints"), np.float64)
    return points.reshape(len(entries), 3 * len(settings.keypoint_sigmas))


def _areas_beside_keypoints(results: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """As pycocotools, which goes by what the first result has; None for the keypoints' extent."""
    first = results[0] if results else {}
    if first.get("bbox"):
        boxes = np.array(_column(results, "bbox"), np.float64)
        areas: np.ndarray = boxes[:, 2] * boxes[:, 3]
        return areas
    if "segmentation" in first:
        return np.asarray(rle_area(_column(results, "segmentation")), np.float64)
    return None


def truth_mask(truth: CocoGroundTruth, annotation: dict[str, Any]) -> Mapping[str, Any]:
    """Return the mask of an annotation as run lengths."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list) and all(len(polygon) >= 6 for polygon in segmentation):
        image = truth.coco.imgs[annotation["image_id"]]
        return polygons_to_rle(segmentation, image["height"], image["width"])
    rle: Mapping[str, Any] = truth.coco.annToRLE(annotation)
    return rle
