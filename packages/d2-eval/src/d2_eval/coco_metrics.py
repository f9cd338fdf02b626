"""COCO's average precision, kept with its curves.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014;
https://cocodataset.org/#detection-eval and https://cocodataset.org/#keypoints-eval.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import numpy as np
from pycocotools.cocoeval import Params

from d2_data.formats import read_json
from d2_eval.coco_fast import fast_precision_recall
from d2_eval.coco_ground_truth import CocoGroundTruth
from d2_eval.coco_official import official_precision_recall
from d2_eval.coco_result_checks import check_results
from d2_eval.coco_targets import complete_keypoints, complete_masks

Task = Literal["bbox", "segm", "keypoints"]

TASKS: tuple[Task, ...] = ("bbox", "segm", "keypoints")

_AREA_METRICS = {"APs": "small", "APm": "medium", "APl": "large"}


@attrs.frozen(eq=False)
class CocoCurves:
    """Precision over recall of one task, with everything COCO's metrics are made of.

    T IoU (or OKS) thresholds, R recall thresholds, K classes, A area ranges, M limits on the
    detections per image. −1 stands where there is no ground truth.

    Attributes:
        task: ``"bbox"``, ``"segm"`` or ``"keypoints"``.
        class_names: of the K classes.
        precision: (T, R, K, A, M) float64 within [0, 1].
        recall: (T, K, A, M) float64, the highest recall reached.
        scores: (T, R, K, A, M) float64, the score at which a recall is reached.
        iou_thresholds: (T,) float64.
        recall_thresholds: (R,) float64.
        areas: names of the A ranges.
        max_detections: the M limits.
    """

    task: Task
    class_names: tuple[str, ...]
    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    iou_thresholds: np.ndarray
    recall_thresholds: np.ndarray
    areas: tuple[str, ...]
    max_detections: tuple[int, ...]

    def average_precision(
        self, *, iou: float | None = None, area: str = "all", class_name: str | None = None
    ) -> float:
        """Mean precision over thresholds and classes, in percent.

        Args:
            iou: one threshold; None means the average over all.
            area: one of ``areas``.
            class_name: one class; None means the average over all that have ground truth.

        Returns:
            Percent, or NaN where there is no ground truth.

        Raises:
            ValueError: for a threshold, area or class that was not evaluated.
        """
        precision = self.precision[:, :, :, self._area(area), -1]
        if class_name is not None:
            precision = precision[:, :, [self._class(class_name)]]
        if iou is not None:
            precision = precision[[self._threshold(iou)]]
        return _mean_percent(precision)

    def average_recall(
        self, *, max_detections: int | None = None, area: str = "all", iou: float | None = None
    ) -> float:
        """Mean of the highest recalls over thresholds and classes, in percent.

        Args:
            max_detections: one of the limits; None means the largest.
            area: one of ``areas``.
            iou: one threshold; None means the average over all.
        """
        limit = self.max_detections[-1] if max_detections is None else max_detections
        if limit not in self.max_detections:
            raise ValueError(f"max_detections {limit} is not one of {self.max_detections}")
        recall = self.recall[:, :, self._area(area), self.max_detections.index(limit)]
        if iou is not None:
            recall = recall[[self._threshold(iou)]]
        return _mean_percent(recall)

    def curve(self, iou: float = 0.5, class_name: str | None = None) -> np.ndarray:
        """Precision at each recall threshold, over all areas.

        Args:
            iou: the threshold.
            class_name: one class; None means the average over those that have ground truth.

        Returns:
            (R,) float64 within [0, 1]; NaN where there is no ground truth.
        """
        precision = self.precision[self._threshold(iou), :, :, self._area("all"), -1]
        if class_name is not None:
            precision = precision[:, [self._class(class_name)]]
        present = precision[:, (precision > -1).all(axis=0)]
        if present.shape[1] == 0:
            return np.full(len(self.recall_thresholds), np.nan)
        mean: np.ndarray = present.mean(axis=1)
        return mean

    def metrics(self) -> dict[str, float]:
        """The documented metrics in percent: AP, AP50, AP75, APs (not for keypoints), APm, APl."""
        metrics = {
            "AP": self.average_precision(),
            "AP50": self.average_precision(iou=0.5),
            "AP75": self.average_precision(iou=0.75),
        }
        for name, area in _AREA_METRICS.items():
            if area in self.areas:
                metrics[name] = self.average_precision(area=area)
        return metrics

    def per_class(self) -> dict[str, float]:
        """AP of each class in percent, NaN for classes without ground truth."""
        return {name: self.average_precision(class_name=name) for name in self.class_names}

    def _threshold(self, iou: float) -> int:
        hits = np.flatnonzero(np.isclose(self.iou_thresholds, iou))
        if len(hits) != 1:
            raise ValueError(f"IoU {iou} was not evaluated; {self.iou_thresholds.tolist()} were")
        return int(hits[0])

    def _area(self, area: str) -> int:
        if area not in self.areas:
            raise ValueError(f"area {area!r} was not evaluated; {list(self.areas)} were")
        return self.areas.index(area)

    def _class(self, class_name: str) -> int:
        if class_name not in self.class_names:
            raise ValueError(f"class {class_name!r} is none of {list(self.class_names)}")
        return self.class_names.index(class_name)


def metric_names(task: Task) -> list[str]:
    """Names of the metrics of a task, in the order of :meth:`CocoCurves.metrics`."""
    areas = [name for name in _AREA_METRICS if task != "keypoints" or name != "APs"]
    return ["AP", "AP50", "AP75", *areas]


def evaluate_coco_results(
    ground_truth: CocoGroundTruth | str | os.PathLike[str],
    results: Sequence[dict[str, Any]] | str | os.PathLike[str],
    task: Task,
    *,
    max_detections: int | None = None,
    kpt_oks_sigmas: Sequence[float] = (),
    image_ids: Sequence[int] | None = None,
    use_fast_impl: bool = True,
) -> CocoCurves:
    """Match COCO results with annotations and compute precision and recall.

    Args:
        ground_truth: annotations, a dataset's name, or a COCO annotation file.
        results: entries of COCO's result format with the dataset's category ids, or a file of
            them. Left unchanged. The area of a detection is that of its box where it has one,
            except for ``"segm"``.
        task: ``"bbox"``, ``"segm"`` or ``"keypoints"``.
        max_detections: most detections per image that count, by default 100 (20 for keypoints).
        kpt_oks_sigmas: per keypoint the tolerance of COCO's similarity; empty uses COCO's 17.
        image_ids: evaluate only these images.
        use_fast_impl: False computes with pycocotools. The numbers are the same.

    Raises:
        ValueError: if a result belongs to an unknown image or category, lacks a field, has a score
            that is not finite or a mask of another size than its image, or the number of
            keypoints, sigmas and annotated keypoints differ.
    """
    if task not in TASKS:
        raise ValueError(f"task is one of {TASKS}, got {task!r}")
    truth = (
        ground_truth
        if isinstance(ground_truth, CocoGroundTruth)
        else CocoGroundTruth.load(ground_truth)
    )
    entries: Sequence[dict[str, Any]] = (
        read_json(results) if isinstance(results, str | os.PathLike) else results
    )
    check_results(truth, entries, task)
    parameters = _parameters(truth, task, max_detections, image_ids)
    if task == "keypoints":
        parameters.kpt_oks_sigmas = _sigmas(truth, entries, kpt_oks_sigmas, parameters)
        complete_keypoints(truth, len(parameters.kpt_oks_sigmas))
    if task == "segm":
        complete_masks(truth)
    evaluate = fast_precision_recall if use_fast_impl else official_precision_recall
    return CocoCurves(
        task,
        truth.class_names,
        *evaluate(truth, entries, parameters),
        iou_thresholds=np.asarray(parameters.iouThrs),
        recall_thresholds=np.asarray(parameters.recThrs),
        areas=tuple(parameters.areaRngLbl),
        max_detections=tuple(parameters.maxDets),
    )


def _parameters(
    truth: CocoGroundTruth,
    task: Task,
    max_detections: int | None,
    image_ids: Sequence[int] | None,
) -> Params:
    """pycocotools' settings for a task."""
    parameters = Params(task)
    parameters.imgIds = list(truth.coco.imgs if image_ids is None else image_ids)
    if max_detections is not None:
        limits = (max_detections,) if task == "keypoints" else (1, 10, max_detections)
        parameters.maxDets = sorted({min(limit, max_detections) for limit in limits})
    return parameters


def _mean_percent(values: np.ndarray) -> float:
    present = values[values > -1]
    return float(present.mean()) * 100 if present.size else math.nan


def _sigmas(
    truth: CocoGroundTruth,
    results: Sequence[dict[str, Any]],
    kpt_oks_sigmas: Sequence[float],
    parameters: Any,
) -> np.ndarray:
    sigmas = np.asarray(kpt_oks_sigmas if len(kpt_oks_sigmas) else parameters.kpt_oks_sigmas)
    annotated = next(
        (len(a["keypoints"]) // 3 for a in truth.coco.anns.values() if a.get("keypoints")), None
    )
    if annotated is None:
        raise ValueError(f"{truth.name!r} has no keypoint annotations to compare with")
    predicted = len(results[0]["keypoints"]) // 3 if results else annotated
    if not annotated == predicted == len(sigmas):
        raise ValueError(
            f"{truth.name!r} has {annotated} keypoints per object, the predictions have "
            f"{predicted} and there are {len(sigmas)} OKS sigmas; give kpt_oks_sigmas of the same "
            "length"
        )
    return sigmas
