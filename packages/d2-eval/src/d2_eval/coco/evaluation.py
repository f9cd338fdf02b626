"""COCO's metrics for any dataset of boxes, masks or keypoints."""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from d2_config.files import write_atomically
from d2_data import Metadata
from d2_eval.coco.curves import CocoCurves, metric_names
from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.predictions import instances_to_coco_json
from d2_eval.coco.results import evaluate_coco_results
from d2_eval.coco.settings import Task, checked_tasks
from d2_eval.collecting import CollectingEvaluator, one_per_image
from d2_eval.proposal_recall import ImageProposals, proposal_recall

_logger = logging.getLogger(__name__)


class COCOEvaluator(CollectingEvaluator):
    """Average precision of boxes, masks and keypoints, and average recall of proposals.

    Metrics are in percent, 0 to 100; NaN where one cannot be computed, e.g. because nothing was
    predicted or no object of that size is annotated. See
    https://cocodataset.org/#detection-eval and https://cocodataset.org/#keypoints-eval.

    Args:
        dataset_name: a dataset's name in the catalogs, its ``Metadata``, or the path of a COCO
            annotation file. Without ``json_file`` in the metadata, the dataset is converted
            from the standard format.
        tasks: one or some of ``"bbox"``, ``"segm"``, ``"keypoints"``; None infers them from the
            predictions.
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
            task.

    Raises:
        KeyError, FileNotFoundError, ValueError: see :meth:`CocoGroundTruth.load`.
    """

    def __init__(
        self,
        dataset_name: str | os.PathLike[str] | Metadata,
        tasks: Sequence[Task] | Task | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        super().__init__(distributed=distributed)
        self._tasks = checked_tasks(tasks)
        if max_dets_per_image is not None and max_dets_per_image < 1:
            raise ValueError(f"max_dets_per_image is at least 1, got {max_dets_per_image}")
        self._max_dets_per_image = max_dets_per_image
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        self._use_fast_impl = use_fast_impl
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._ground_truth = CocoGroundTruth.load(
            dataset_name, cache_dir=output_dir, allow_cached=allow_cached_coco
        )
        self.curves: dict[str, CocoCurves] = {}

    def reset(self) -> None:
        super().reset()
        self.curves = {}

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in one batch.

        Args:
            inputs: one dict per image with ``image_id``.
            outputs: one dict per image with ``instances`` (see
                :func:`~d2_eval.instances_to_coco_json`), ``proposals`` (``Instances`` with
                ``proposal_boxes`` and ``objectness_logits``), or both.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if the lengths differ or a dict lacks what is needed.
        """
        self.check_was_reset("process")
        if len(inputs) != len(outputs):
            raise ValueError(f"got {len(inputs)} inputs but {len(outputs)} outputs")
        for record, output in zip(inputs, outputs, strict=True):
            if "image_id" not in record:
                raise ValueError(f"an input has no 'image_id'; it has {sorted(record)}")
            if not {"instances", "proposals"} & set(output):
                raise ValueError(
                    f"the output for image {record['image_id']!r} has neither 'instances' nor "
                    f"'proposals'; it has {sorted(output)}"
                )
            prediction: dict[str, Any] = {"image_id": record["image_id"]}
            if "instances" in output:
                instances = output["instances"].to(torch.device("cpu"))
                prediction["instances"] = instances_to_coco_json(instances, record["image_id"])
            if "proposals" in output:
                proposals = output["proposals"].to(torch.device("cpu"))
                prediction["proposals"] = {
                    "boxes_xyxy": proposals.proposal_boxes.tensor,
                    "objectness_logits": proposals.objectness_logits,
                }
            self.keep(prediction)

    def evaluate(self, img_ids: Iterable[int] | None = None) -> dict[str, dict[str, float]]:
        """Evaluate everything since :meth:`reset`.

        Args:
            img_ids: only these images; None means all of the dataset.

        Returns:
            For each task ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` (keypoints
            without ``APs``) and, with several classes, ``AP-{class}``; for proposals
            ``box_proposals`` with ``AR@100`` and so on. Empty on ranks other than the main one,
            where nothing was processed, and where the dataset has no annotations.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if a prediction is of a class or an image that the dataset lacks.
        """
        predictions = self.collected()
        if predictions is None:
            return {}
        if not predictions:
            _logger.warning("COCOEvaluator did not receive predictions for any image")
            return {}
        predictions = one_per_image(predictions)
        if self._output_dir is not None:
            buffer = io.BytesIO()
            torch.save(predictions, buffer)
            write_atomically(self._output_dir / "instances_predictions.pth", buffer.getvalue())
        results: dict[str, dict[str, float]] = {}
        if any("proposals" in prediction for prediction in predictions):
            results |= self._evaluate_proposals(predictions)
        if any("instances" in prediction for prediction in predictions):
            image_ids = None if img_ids is None else list(img_ids)
            results |= self._evaluate_instances(predictions, image_ids)
        return copy.deepcopy(results)

    def _evaluate_proposals(
        self, predictions: Sequence[dict[str, Any]]
    ) -> dict[str, dict[str, float]]:
        if not self._ground_truth.has_annotations:
            _logger.info("The dataset has no annotations; proposals are not evaluated")
            return {}
        proposals = [
            ImageProposals(
                prediction["image_id"],
                prediction["proposals"]["boxes_xyxy"],
                prediction["proposals"]["objectness_logits"],
            )
            for prediction in predictions
            if "proposals" in prediction
        ]
        return {"box_proposals": proposal_recall(self._ground_truth, proposals)}

    def _evaluate_instances(
        self, predictions: Sequence[dict[str, Any]], image_ids: list[int] | None
    ) -> dict[str, dict[str, float]]:
        coco_results = self._coco_results(predictions)
        tasks = self._tasks or _tasks_in(coco_results)
        if self._output_dir is not None:
            write_atomically(
                self._output_dir / "coco_instances_results.json", json.dumps(coco_results)
            )
        if not self._ground_truth.has_annotations:
            _logger.info("The dataset has no annotations; predictions are not evaluated")
            return {}
        results: dict[str, dict[str, float]] = {}
        for task in tasks:
            if coco_results:
                self.curves[task] = evaluate_coco_results(
                    self._ground_truth,
                    coco_results,
                    task,
                    max_detections=None if task == "keypoints" else self._max_dets_per_image,
                    kpt_oks_sigmas=self._kpt_oks_sigmas,
                    image_ids=image_ids,
                    use_fast_impl=self._use_fast_impl,
                )
                results[task] = self.curves[task].scores_by_name()
            else:
                _logger.warning("The model predicted no instances at all")
                results[task] = dict.fromkeys(metric_names(task), math.nan)
        return results

    def _coco_results(self, predictions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """All instances with the dataset's category ids in place of the model's."""
        category_ids = self._ground_truth.category_ids
        results = []
        for prediction in predictions:
            for instance in prediction.get("instances", ()):
                contiguous = instance["category_id"]
                if not 0 <= contiguous < len(category_ids):
                    raise ValueError(
                        f"a prediction for image {instance['image_id']!r} has class {contiguous}, "
                        f"but {self._ground_truth.name!r} has {len(category_ids)} classes "
                        f"(0..{len(category_ids) - 1}); the model was built for another dataset"
                    )
                results.append({**instance, "category_id": category_ids[contiguous]})
        return results


def _tasks_in(coco_results: Sequence[dict[str, Any]]) -> tuple[Task, ...]:
    tasks: list[Task] = ["bbox"]
    if any("segmentation" in result for result in coco_results):
        tasks.append("segm")
    if any("keypoints" in result for result in coco_results):
        tasks.append("keypoints")
    return tuple(tasks)
