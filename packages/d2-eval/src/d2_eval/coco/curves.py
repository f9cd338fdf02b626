"""COCO's precision over recall, and the metrics made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np

from d2_eval.coco.settings import CocoSettings, Task
from d2_ops.host import CocoPrecisionRecall

_AREA_METRICS = {"APs": "small", "APm": "medium", "APl": "large"}


@attrs.frozen(eq=False)
class CocoCurves:
    """Precision over recall of one task, with everything COCO's metrics are made of.

    T IoU (or OKS) thresholds, R recall thresholds, K classes, A area ranges, M limits on the
    detections per image. −1 stands where there is no ground truth.

    Attributes:
        task: what was compared, e.g. ``"bbox"``.
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

    @classmethod
    def of(
        cls, settings: CocoSettings, class_names: Sequence[str], computed: CocoPrecisionRecall
    ) -> CocoCurves:
        """Return what was computed, with the settings that it was computed with.

        Args:
            settings: thresholds, sizes and limits.
            class_names: of the K classes.
            computed: precision, recall and scores.
        """
        return cls(
            settings.task,
            tuple(class_names),
            *computed,
            iou_thresholds=np.array(settings.iou_thresholds),
            recall_thresholds=np.array(settings.recall_thresholds),
            areas=settings.areas,
            max_detections=settings.max_detections,
        )

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
        return mean_percent(precision)

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
        return mean_percent(recall)

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
        """The documented metrics in percent: AP, AP50, AP75, APs (not for keypoints), APm, APl.

        Those whose threshold or size was not evaluated are left out.
        """
        metrics = {"AP": self.average_precision()}
        for name, iou in (("AP50", 0.5), ("AP75", 0.75)):
            if np.isclose(self.iou_thresholds, iou).any():
                metrics[name] = self.average_precision(iou=iou)
        for name, area in _AREA_METRICS.items():
            if area in self.areas:
                metrics[name] = self.average_precision(area=area)
        return metrics

    def scores_by_name(self) -> dict[str, float]:
        """The metrics and, with several classes, the AP of each as ``AP-{class}``."""
        if len(self.class_names) < 2:
            return self.metrics()
        return self.metrics() | {f"AP-{name}": ap for name, ap in self.per_class().items()}

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


def mean_percent(values: np.ndarray) -> float:
    """The mean in percent of those that are not −1; NaN without any."""
    present = values[values > -1]
    return float(present.mean()) * 100 if present.size else math.nan
