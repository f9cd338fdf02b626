"""COCO's precision and recall from the kernels of d2-ops: pycocotools' numbers, much sooner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.cocoeval import Params

from d2_eval.coco_ground_truth import CocoGroundTruth
from d2_ops.host import (
    CocoDetections,
    CocoGroundTruths,
    CocoPrecisionRecall,
    coco_evaluate,
    polygons_to_rle,
    rle_area,
)


def fast_precision_recall(
    truth: CocoGroundTruth, results: Sequence[dict[str, Any]], parameters: Params
) -> CocoPrecisionRecall:
    """Evaluate results with the categories in the model's order.

    Args:
        truth: the annotations.
        results: entries of COCO's result format, of known images and categories.
        parameters: pycocotools' settings: task, thresholds, area ranges, detection limits, images
            and sigmas.
    """
    task = parameters.iouType
    images = {image: index for index, image in enumerate(sorted_ids(parameters.imgIds))}
    categories = {category: index for index, category in enumerate(truth.category_ids)}
    annotations = (
        truth.coco.anns[annotation["id"]]  # pycocotools knows an annotation by its id, too
        for image in images
        for annotation in truth.coco.imgToAnns.get(image, ())
    )
    wanted = [a for a in annotations if a["category_id"] in categories]
    found = [r for r in results if r["image_id"] in images and r["category_id"] in categories]
    return coco_evaluate(
        CocoGroundTruths(
            **_places(wanted, images, categories),
            areas=np.array(_column(wanted, "area"), np.float64),
            boxes=np.array(_column(wanted, "bbox"), np.float64) if task != "segm" else None,
            masks=[_rle(truth, a) for a in wanted] if task == "segm" else None,
            keypoints=_keypoints(wanted, parameters) if task == "keypoints" else None,
            crowd=np.array([bool(a["iscrowd"]) for a in wanted]),
            ignored=np.array([_ignored(a, task) for a in wanted]),
            ids=np.array(_column(wanted, "id")),
        ),
        CocoDetections(
            **_places(found, images, categories),
            scores=np.array(_column(found, "score"), np.float64),
            areas=_areas_beside_keypoints(found) if task == "keypoints" else None,
            boxes=np.array(_column(found, "bbox"), np.float64) if task == "bbox" else None,
            masks=_column(found, "segmentation") if task == "segm" else None,
            keypoints=_keypoints(found, parameters) if task == "keypoints" else None,
        ),
        task,
        num_categories=len(categories),
        iou_thresholds=parameters.iouThrs,
        recall_thresholds=parameters.recThrs,
        area_ranges=parameters.areaRng,
        max_detections=parameters.maxDets,
        keypoint_sigmas=parameters.kpt_oks_sigmas if task == "keypoints" else (),
    )


def sorted_ids(ids: Iterable[Any]) -> list[Any]:
    """Ids in the order of pycocotools, each once; numbers before text."""
    return sorted(set(ids), key=lambda identity: (isinstance(identity, str), identity))


def _column(entries: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    return [entry[key] for entry in entries]


def _places(
    entries: Sequence[Mapping[str, Any]], images: Mapping[Any, int], categories: Mapping[int, int]
) -> dict[str, np.ndarray]:
    return {
        "images": np.array([images[entry["image_id"]] for entry in entries], np.int64),
        "categories": np.array([categories[entry["category_id"]] for entry in entries], np.int64),
    }


def _ignored(annotation: Mapping[str, Any], task: str) -> bool:
    unlabelled = task == "keypoints" and annotation["num_keypoints"] == 0
    return bool(annotation["iscrowd"]) or unlabelled


def _keypoints(entries: Sequence[Mapping[str, Any]], parameters: Params) -> np.ndarray:
    points = np.array(_column(entries, "keypoints"), np.float64)
    return points.reshape(len(entries), 3 * len(parameters.kpt_oks_sigmas))


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


def _rle(truth: CocoGroundTruth, annotation: dict[str, Any]) -> Mapping[str, Any]:
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list) and all(len(polygon) >= 6 for polygon in segmentation):
        image = truth.coco.imgs[annotation["image_id"]]
        return polygons_to_rle(segmentation, image["height"], image["width"])
    rle: Mapping[str, Any] = truth.coco.annToRLE(annotation)
    return rle
