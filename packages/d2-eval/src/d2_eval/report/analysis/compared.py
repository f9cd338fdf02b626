"""Annotations and predictions of one task as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from d2_eval import CocoGroundTruth
from d2_ops.host import polygons_to_rles, rle_area, rle_bounding_boxes, rle_compress

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

ReportTask = Literal["bbox", "segm"]


class Truths(NamedTuple):
    """G annotated objects, those of an image in the order of the file.

    Attributes:
        images: (G,) places in ``Compared.images``.
        classes: (G,) contiguous class ids.
        boxes: (G, 4) x, y, width, height in pixels.
        areas: (G,) square pixels.
        crowd: (G,) whether it stands for many objects, and neither counts nor costs.
        ids: of the annotations.
        masks: G run lengths, or None where boxes are compared.
        outlines: the segmentations as the file has them; None where there are none.
    """

    images: Integers
    classes: Integers
    boxes: Floats
    areas: Floats
    crowd: Flags
    ids: tuple[Any, ...]
    masks: Sequence[Mapping[str, Any]] | None
    outlines: Sequence[Any]


class Detections(NamedTuple):
    """D predictions by image, and those of an image from the highest score to the lowest.

    Attributes:
        images: (D,) places in ``Compared.images``, ascending.
        classes: (D,) contiguous class ids.
        scores: (D,) finite.
        boxes: (D, 4) x, y, width, height in pixels.
        areas: (D,) square pixels, of the masks where those are compared.
        masks: D run lengths, or None where boxes are compared.
    """

    images: Integers
    classes: Integers
    scores: Floats
    boxes: Floats
    areas: Floats
    masks: Sequence[Mapping[str, Any]] | None


@attrs.frozen(eq=False)
class Compared:
    """Annotations beside predictions.

    Attributes:
        task: what is compared, ``"bbox"`` or ``"segm"``.
        images: entries of the annotation file, in the order of their ids.
        file_order: (I,) the place of each image in the file.
        class_names: of the contiguous class ids.
        category_ids: the file's ids of these classes.
        truths: what is annotated.
        detections: what was predicted.
    """

    task: ReportTask
    images: tuple[Mapping[str, Any], ...]
    file_order: Integers
    class_names: tuple[str, ...]
    category_ids: tuple[Any, ...]
    truths: Truths
    detections: Detections

    @cached_property
    def ranks_in_image(self) -> Integers:
        """(D,) 0 for the highest score of an image, and so on."""
        return ranks_in_runs(self.detections.images)

    @cached_property
    def ranks_in_class(self) -> Integers:
        """(D,) 0 for the highest score of a class in an image, and so on."""
        groups = self.detections.images * max(len(self.class_names), 1) + self.detections.classes
        order = np.argsort(groups, kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[order] = ranks_in_runs(groups[order])
        return ranks


def task_of(results: Sequence[Mapping[str, Any]]) -> ReportTask:
    """Masks where the predictions have any, else boxes."""
    return "segm" if any(result.get("segmentation") for result in results) else "bbox"


def with_box(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result with the box around its mask or keypoints where it has none of its own."""
    if "bbox" in result:
        return dict(result)
    if isinstance(result.get("segmentation"), Mapping):
        (box,) = rle_bounding_boxes([result["segmentation"]]).tolist()
        return {**result, "bbox": box}
    if result.get("keypoints"):
        xs, ys = result["keypoints"][0::3], result["keypoints"][1::3]
        extent = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        return {**result, "bbox": extent}
    return dict(result)


def compared(
    truth: CocoGroundTruth, results: Sequence[Mapping[str, Any]], task: ReportTask
) -> Compared:
    """Put annotations and results, which have been checked, into arrays.

    Args:
        truth: the annotations.
        results: in COCO's result format, with the annotations' image and category ids.
        task: what is compared.
    """
    listed = list(truth.coco.dataset["images"])
    order = sorted(
        range(len(listed)), key=lambda i: (isinstance(listed[i]["id"], str), listed[i]["id"])
    )
    images = tuple(listed[i] for i in order)
    places = {image["id"]: place for place, image in enumerate(images)}
    classes = {category: label for label, category in enumerate(truth.category_ids)}
    annotations = [a for a in truth.coco.dataset["annotations"] if a["category_id"] in classes]
    kept = [result for result in results if result["category_id"] in classes]
    return Compared(
        task,
        images,
        np.array(order, np.int64),
        tuple(truth.class_names),
        tuple(truth.category_ids),
        _truths(annotations, images, places, classes, task),
        _detections(kept, places, classes, task),
    )


def _truths(
    annotations: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    places: Mapping[Any, int],
    classes: Mapping[Any, int],
    task: ReportTask,
) -> Truths:
    at = np.array([places[a["image_id"]] for a in annotations], np.int64)
    order = np.argsort(at, kind="stable")
    annotations = [annotations[i] for i in order]
    outlines = [a.get("segmentation") for a in annotations]
    return Truths(
        at[order],
        np.array([classes[a["category_id"]] for a in annotations], np.int64),
        np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4),
        np.array([a["area"] for a in annotations], np.float64),
        np.array([bool(a.get("iscrowd")) for a in annotations], np.bool_),
        tuple(a["id"] for a in annotations),
        _encoded(outlines, at[order], images) if task == "segm" else None,
        outlines,
    )


def _encoded(
    outlines: Sequence[Any], at: Integers, images: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Run lengths of segmentations; empty ones of objects without."""
    masks: list[Any] = [None] * len(outlines)
    for place in np.unique(at).tolist():
        height, width = images[place]["height"], images[place]["width"]
        members = range(*np.searchsorted(at, [place, place + 1]).tolist())
        drawn = [i for i in members if not isinstance(outlines[i], Mapping)]
        polygons = [outlines[i] or [] for i in drawn]
        for i, rle in zip(drawn, polygons_to_rles(polygons, height, width), strict=True):
            masks[i] = rle
    given = [i for i, outline in enumerate(outlines) if isinstance(outline, Mapping)]
    for i, rle in zip(given, rle_compress([outlines[i] for i in given]), strict=True):
        masks[i] = rle
    return masks


def _detections(
    results: Sequence[Mapping[str, Any]],
    places: Mapping[Any, int],
    classes: Mapping[Any, int],
    task: ReportTask,
) -> Detections:
    at = np.array([places[result["image_id"]] for result in results], np.int64)
    scores = np.array([result["score"] for result in results], np.float64)
    order = np.lexsort((-scores, at))
    results = [results[i] for i in order.tolist()]
    masks = [result["segmentation"] for result in results] if task == "segm" else None
    boxes = _boxes(results, masks)
    return Detections(
        at[order],
        np.array([classes[result["category_id"]] for result in results], np.int64),
        scores[order],
        boxes,
        boxes[:, 2] * boxes[:, 3] if masks is None else np.asarray(rle_area(masks), np.float64),
        masks,
    )


def _boxes(
    results: Sequence[Mapping[str, Any]], masks: Sequence[Mapping[str, Any]] | None
) -> Floats:
    """The boxes of results; around their masks where not all have one."""
    if masks is not None and not all("bbox" in result for result in results):
        return np.asarray(rle_bounding_boxes(masks), np.float64).reshape(-1, 4)
    return np.array([result["bbox"] for result in results], np.float64).reshape(-1, 4)


def ranks_in_runs(groups: Integers) -> Integers:
    """The place of each within its run of equal numbers."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]][: len(groups)])
    lengths = np.diff(np.r_[starts, len(groups)])
    ranks: Integers = np.arange(len(groups)) - np.repeat(starts, lengths)
    return ranks
