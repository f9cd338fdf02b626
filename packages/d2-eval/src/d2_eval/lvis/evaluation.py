"""LVIS' metrics of a model's predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from d2_eval.coco.curves import metric_names
from d2_eval.coco.ground_truth import CocoGroundTruth, Dataset
from d2_eval.coco.settings import Task
from d2_eval.instance_evaluation import InstanceEvaluator, Scores
from d2_eval.lvis.results import (
    DETECTIONS_PER_IMAGE,
    FREQUENCIES,
    LvisTask,
    lvis_curves,
    lvis_scores,
)
from d2_ops.host import CocoResults


class LVISEvaluator(InstanceEvaluator):
    """LVIS' average precision of boxes and masks, and average recall of proposals.

    Metrics are in percent, 0 to 100; NaN where one cannot be computed. Besides COCO's they are
    ``APr``, ``APc`` and ``APf``: of classes that are rare, common and frequent in training.

    Args:
        dataset_name: a dataset's name in the catalogs, its ``Metadata`` with ``json_file``, or the
            path of an LVIS annotation file. A list of several is evaluated as one dataset.
        tasks: ``"bbox"``, ``"segm"`` or both; None infers them from the predictions.
        distributed: collect the predictions of all ranks and evaluate on the main one; otherwise
            each rank evaluates its own.
        output_dir: folder for ``instances_predictions.pth`` (all results, plain data) and
            ``lvis_instances_results.json`` (COCO's result format); None writes nothing.
        max_dets_per_image: most detections of an image, of all classes, that count; None stands
            for LVIS' 300.
        fixed_ap: also report ``bbox_fixed`` and ``segm_fixed``, of the best 10 000 detections of
            each class however many there are in an image. A model should then return as many
            detections of an image as it can.

    Attributes:
        curves: after :meth:`evaluate`, on the rank that evaluated, precision and recall of each
            task.

    Raises:
        KeyError, FileNotFoundError, ValueError: see :meth:`CocoGroundTruth.load`.
    """

    TASKS: ClassVar[tuple[Task, ...]] = ("bbox", "segm")
    RESULTS_FILE: ClassVar[str] = "lvis_instances_results.json"

    def __init__(
        self,
        dataset_name: Dataset | Sequence[Dataset],
        tasks: Sequence[LvisTask] | LvisTask | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
        fixed_ap: bool = False,
    ) -> None:
        super().__init__(
            CocoGroundTruth.load(dataset_name),
            tasks,
            distributed,
            output_dir,
            max_dets_per_image=max_dets_per_image,
        )
        self._fixed_ap = fixed_ap

    def score(self, results: CocoResults, task: Task, image_ids: list[int] | None) -> Scores:
        assert task in ("bbox", "segm")
        curves = lvis_curves(
            self._ground_truth,
            results,
            task,
            max_detections=self._max_dets_per_image or DETECTIONS_PER_IMAGE,
            fixed_ap=self._fixed_ap,
            mask_areas=True,
            image_ids=image_ids,
        )
        self.curves |= curves
        return {name: lvis_scores(self._ground_truth, one) for name, one in curves.items()}

    def metric_names(self, task: Task) -> list[str]:
        return [*metric_names(task), *FREQUENCIES]
