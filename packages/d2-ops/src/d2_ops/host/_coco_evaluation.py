"""COCO's average precision from arrays in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host
from ._array_arguments import flags, floats, integers
from ._coco_objects import (
    CocoDetections,
    CocoGroundTruths,
    checked_keypoints,
    checked_masks,
    checked_places,
    numbered_from_0,
)
from ._keypoint_similarity import keypoint_similarities

_Floats = NDArray[np.float64]


class CocoPrecisionRecall(NamedTuple):
    """Precision over recall. −1 stands where there is no ground truth.

    T overlap thresholds, R recall thresholds, K categories, A area ranges, M detection limits.

    Attributes:
        precision: (T, R, K, A, M) float64.
        recall: (T, K, A, M) float64, the highest that is reached.
        scores: (T, R, K, A, M) float64, the score at which a recall is reached.
    """

    precision: _Floats
    recall: _Floats
    scores: _Floats


def coco_evaluate(
    ground_truths: CocoGroundTruths,
    detections: CocoDetections,
    task: Literal["bbox", "segm", "keypoints"],
    *,
    num_categories: int,
    iou_thresholds: ArrayLike | None = None,
    recall_thresholds: ArrayLike | None = None,
    area_ranges: ArrayLike | None = None,
    max_detections: Sequence[int] | None = None,
    use_categories: bool = True,
    keypoint_sigmas: ArrayLike = (),
    overlaps: Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike] | None = None,
    num_threads: int = 0,
) -> CocoPrecisionRecall:
    """Match detections with ground truths and compute precision and recall, as COCO does.

    Equal to what pycocotools' ``COCOeval`` computes, to the last bit, with the images in ascending
    order and the objects of an image in the order in which they come.

    Args:
        ground_truths: the annotated objects, with boxes, masks or keypoints as the task needs.
        detections: the detected ones.
        task: whether they are compared by their boxes, masks or keypoints.
        num_categories: K.
        iou_thresholds: (T,) overlaps (for keypoints similarities) from which a detection is
            right; by default 0.5, 0.55, …, 0.95.
        recall_thresholds: (R,) by default 0, 0.01, …, 1.
        area_ranges: (A, 2) least and largest area in square pixels, both included; by default
            COCO's all, small (not for keypoints), medium and large.
        max_detections: M ascending limits on the detections of a category in an image; by default
            1, 10 and 100, for keypoints 20.
        use_categories: False compares objects of all categories with one another; then K is 1.
        keypoint_sigmas: (P,) tolerance of each keypoint.
        overlaps: compares objects in place of the task, which then only gives the defaults: takes
            the rows of N detections and of N ground truths, each pair of one image and category,
            and returns (N,) overlaps. Areas of the detections are needed then.
        num_threads: at most so many; 0 takes one per core.

    Raises:
        TypeError: if indices are not integers.
        ValueError: if shapes do not agree, a number is not finite, a category is out of range, a
            mask is not an encoding of its size, or masks of one image differ in size.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014;
    https://cocodataset.org/#detection-eval
    """
    if task not in ("bbox", "segm", "keypoints"):
        raise ValueError(f"task must be 'bbox', 'segm' or 'keypoints', got {task!r}")
    if num_categories < 0:
        raise ValueError(f"num_categories must not be negative, got {num_categories}")
    truth_images, truth_categories = checked_places("ground_truths", ground_truths, num_categories)
    images, categories = checked_places("detections", detections, num_categories)
    scores = floats("detections.scores", detections.scores, (len(images),))
    settings = _settings(task, iou_thresholds, recall_thresholds, area_ranges, max_detections)
    (truth_images, images), image_count = numbered_from_0(truth_images, images)
    groups = _host.CocoGroups(
        images,
        categories,
        scores,
        truth_images,
        truth_categories,
        image_count,
        num_categories,
        use_categories,
        int(settings.limits[-1]),
        num_threads,
    )
    evaluation = _Evaluation(
        ground_truths, detections, settings, num_categories if use_categories else 1
    )
    if overlaps is not None:
        evaluation.compare_by(groups, overlaps)
    elif task == "bbox":
        evaluation.compare_boxes(groups)
    elif task == "segm":
        evaluation.compare_masks(groups)
    else:
        evaluation.compare_keypoints(groups, floats("keypoint_sigmas", keypoint_sigmas, (None,)))
    return evaluation.result


class _Settings(NamedTuple):
    iou_thresholds: _Floats
    recall_thresholds: _Floats
    area_ranges: _Floats
    limits: NDArray[np.int64]


def _settings(
    task: str,
    iou_thresholds: ArrayLike | None,
    recall_thresholds: ArrayLike | None,
    area_ranges: ArrayLike | None,
    max_detections: Sequence[int] | None,
) -> _Settings:
    ious = np.linspace(0.5, 0.95, 10) if iou_thresholds is None else iou_thresholds
    recalls = np.linspace(0.0, 1.0, 101) if recall_thresholds is None else recall_thresholds
    if area_ranges is None:
        bounds = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2)}
        if task == "keypoints":
            del bounds["small"]
        area_ranges = [*bounds.values(), (96**2, 1e10)]
    ranges = np.ascontiguousarray(area_ranges, np.float64)
    if ranges.ndim != 2 or ranges.shape[1] != 2 or np.isnan(ranges).any():
        raise ValueError(f"area_ranges must be pairs of numbers, got {ranges.tolist()}")
    if max_detections is None:
        max_detections = (20,) if task == "keypoints" else (1, 10, 100)
    limits = integers("max_detections", max_detections, None)
    if len(limits) == 0 or limits[0] < 1 or (np.diff(limits) < 0).any():
        raise ValueError(f"max_detections must ascend from at least 1, got {limits.tolist()}")
    return _Settings(
        floats("iou_thresholds", ious, (None,)),
        floats("recall_thresholds", recalls, (None,)),
        ranges,
        limits,
    )


class _Evaluation:
    """The arrays that all tasks share, and the comparison that each needs."""

    def __init__(
        self,
        ground_truths: CocoGroundTruths,
        detections: CocoDetections,
        settings: _Settings,
        categories: int,
    ) -> None:
        self._truths, self._detections, self._settings = ground_truths, detections, settings
        self._counts = len(np.asarray(ground_truths.images)), len(np.asarray(detections.images))
        self._truth_areas = floats("ground_truths.areas", ground_truths.areas, (self._counts[0],))
        self._crowd = flags("ground_truths.crowd", ground_truths.crowd, self._counts[0])
        recall_shape = (
            len(settings.iou_thresholds),
            categories,
            len(settings.area_ranges),
            len(settings.limits),
        )
        curve_shape = (recall_shape[0], len(settings.recall_thresholds), *recall_shape[1:])
        self.result = CocoPrecisionRecall(
            np.full(curve_shape, -1.0), np.full(recall_shape, -1.0), np.full(curve_shape, -1.0)
        )

    def compare_boxes(self, groups: _host.CocoGroups) -> None:
        truth_boxes = self._truth_boxes()
        boxes = floats("detections.boxes", self._detections.boxes, (self._counts[1], 4))
        shared = self._shared(boxes[:, 2] * boxes[:, 3], self._crowd)
        groups.evaluate_boxes(shared, boxes, truth_boxes)

    def compare_masks(self, groups: _host.CocoGroups) -> None:
        truth_masks = checked_masks("ground_truths", self._truths, self._counts[0])
        masks = checked_masks("detections", self._detections, self._counts[1])
        shared = self._shared(np.empty(self._counts[1]), self._crowd)
        groups.evaluate_masks(shared, self._detections.areas is not None, *masks, *truth_masks)

    def compare_by(
        self,
        groups: _host.CocoGroups,
        overlaps: Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike],
    ) -> None:
        if self._detections.areas is None:
            raise ValueError("detections.areas is needed with overlaps, got None")
        pairs = np.empty(groups.pairs, np.int64), np.empty(groups.pairs, np.int64)
        groups.fill_pairs(*pairs)
        found = floats("overlaps(...)", overlaps(*pairs), (groups.pairs,))
        groups.evaluate_overlaps(self._shared(np.empty(self._counts[1]), self._crowd), found)

    def compare_keypoints(self, groups: _host.CocoGroups, sigmas: _Floats) -> None:
        wanted = checked_keypoints("ground_truths", self._truths, self._counts[0], len(sigmas))
        found = checked_keypoints("detections", self._detections, self._counts[1], len(sigmas))
        pairs = np.empty(groups.pairs, np.int64), np.empty(groups.pairs, np.int64)
        groups.fill_pairs(*pairs)
        overlaps = keypoint_similarities(
            found, wanted, self._truth_boxes(), self._truth_areas, sigmas, pairs
        )
        unlabelled = ~(wanted[:, :, 2] > 0).any(axis=1)
        ignored = self._crowd | unlabelled.view(np.uint8)
        groups.evaluate_overlaps(self._shared(_extents(found), ignored), overlaps)

    def _truth_boxes(self) -> _Floats:
        return floats("ground_truths.boxes", self._truths.boxes, (self._counts[0], 4))

    def _shared(self, areas: _Floats, ignored: NDArray[np.uint8]) -> _host.CocoEvaluation:
        """With areas and ignored objects in place of those that the caller has not given."""
        if self._detections.areas is not None:
            areas[:] = floats("detections.areas", self._detections.areas, (self._counts[1],))
        if self._truths.ignored is not None:
            ignored = flags("ground_truths.ignored", self._truths.ignored, self._counts[0])
        nameless = np.zeros(self._counts[0], np.uint8)
        if self._truths.ids is not None:
            ids = integers("ground_truths.ids", self._truths.ids, self._counts[0])
            nameless = (ids == 0).view(np.uint8)
        return _host.CocoEvaluation(
            areas, self._truth_areas, self._crowd, ignored, nameless, *self._settings, *self.result
        )


def _extents(keypoints: _Floats) -> _Floats:
    """Areas of the boxes around keypoints."""
    if keypoints.shape[1] == 0:
        return np.zeros(len(keypoints))
    points = keypoints[:, :, :2]
    sides: _Floats = points.max(axis=1) - points.min(axis=1)
    return sides[:, 0] * sides[:, 1]
