"""COCO's metrics for any dataset of boxes, masks or keypoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from d2_eval.coco.curves import metric_names
from d2_eval.coco.ground_truth import CocoGroundTruth, Dataset
from d2_eval.coco.results import evaluate_coco_results
from d2_eval.coco.settings import Task
from d2_eval.instance_evaluation import InstanceEvaluator, Scores
from d2_ops.host import CocoResults


class COCOEvaluator(InstanceEvaluator):
    """Average precision of boxes, masks and keypoints, and average recall of proposals.

    Metrics are in percent, 0 to 100; NaN where one cannot be computed, e.g. because nothing was
    predicted or no object of that size is annotated. See
    https://cocodataset.org/#detection-eval and https://cocodataset.org/#keypoints-eval.

    Args:
        dataset_name: a dataset's name in the catalogs, its ``Metadata``, or the path of a COCO
            annotation file. Without ``json_file`` in the metadata, the dataset is converted
            from the standard format. A list of several is evaluated as one dataset.
        tasks: one or some of ``"bbox"``, ``"segm"``, ``"boundary"`` (masks and their outlines),
            ``"keypoints"``; None infers them from the predictions, without ``"boundary"``.
        distributed: collect the predictions of all ranks and evaluate on the main one; otherwise
            each rank evaluates its own.
        output_dir: folder for ``instances_predictions.pth`` (all results, plain data, loaded by
            ``torch.load``) and ``coco_instances_results.json`` (COCO's result format); None
            writes nothing.
        max_dets_per_image: most detections per image that count for boxes and masks, by default
            100. Keypoints always count 20.
        use_fast_impl: compute with the kernels of d2-ops; False computes with pycocotools. The
            numbers are the same to the last bit.
        kpt_oks_sigmas: per keypoint the tolerance of the keypoint similarity; empty uses COCO's.
        allow_cached_coco: whether a conversion kept in ``output_dir`` by an earlier run may be
            used.

    Attributes:
        curves: after :meth:`evaluate`, on the rank that evaluated, precision and recall of each
            task. The scores of :meth:`evaluate` are ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``,
            ``APl`` (keypoints without ``APs``) and, with several classes, ``AP-{class}``.

    Raises:
        KeyError, FileNotFoundError, ValueError: see :meth:`CocoGroundTruth.load`.
    """

    TASKS: ClassVar[tuple[Task, ...]] = ("bbox", "segm", "boundary", "keypoints")
    RESULTS_FILE: ClassVar[str] = "coco_instances_results.json"

    def __init__(
        self,
        dataset_name: Dataset | Sequence[Dataset],
        tasks: Sequence[Task] | Task | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        ground_truth = CocoGroundTruth.load(
            dataset_name, cache_dir=output_dir, allow_cached=allow_cached_coco
        )
        super().__init__(
            ground_truth, tasks, distributed, output_dir, max_dets_per_image=max_dets_per_image
        )
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        self._use_fast_impl = use_fast_impl

    def score(self, results: CocoResults, task: Task, image_ids: list[int] | None) -> Scores:
        self.curves[task] = evaluate_coco_results(
            self._ground_truth,
            results,
            self._compared(task),
            max_detections=None if task == "keypoints" else self._max_dets_per_image,
            kpt_oks_sigmas=self._kpt_oks_sigmas,
            image_ids=image_ids,
            use_fast_impl=self._use_fast_impl,
        )
        return {task: self.curves[task].scores_by_name()}

    def metric_names(self, task: Task) -> list[str]:
        return metric_names(task)

    def _compared(self, task: Task) -> Task:
        """What the scores of a task compare."""
        return task


class RotatedCOCOEvaluator(COCOEvaluator):
    """COCO's average precision of boxes that may be turned, by their overlap alone.

    Ground truths and predictions are boxes (centre x, centre y, width, height, degrees); ground
    truths of four numbers are upright boxes. The overlap knows no direction: a box turned by 180
    degrees is the same box. Results are those of the task ``"bbox"``; other tasks there are none.
    Arguments are those of :class:`COCOEvaluator`.
    """

    TASKS: ClassVar[tuple[Task, ...]] = ("bbox",)

    def _compared(self, task: Task) -> Task:
        return "rotated_bbox"
