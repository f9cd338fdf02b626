"""What evaluators of detected instances share: they collect, write files and score each task."""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from d2_config.files import write_atomically
from d2_eval.coco.curves import CocoCurves
from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.predictions import instances_to_columns
from d2_eval.coco.result_arrays import (
    column_of,
    ids_array,
    joined_results,
    results_count,
)
from d2_eval.coco.result_entries import columns_of_entries, results_as_entries
from d2_eval.coco.settings import Task, checked_tasks
from d2_eval.collecting import CollectingEvaluator, one_per_image
from d2_eval.prediction_values import report_unusual_scores
from d2_eval.proposal_recall import ImageProposals, proposal_recall
from d2_ops.host import CocoResults
from d2_structures import Instances

_logger = logging.getLogger(__name__)

Scores = dict[str, dict[str, float]]


class InstanceEvaluator(CollectingEvaluator):
    """Base of the evaluators that compare instances with annotations in COCO's format.

    A subclass says in :meth:`score` what a task's scores are, and keeps there the curves that they
    are made of.

    Args:
        ground_truth: the annotations.
        tasks: one or some of those in ``TASKS``; None infers them from the predictions.
        distributed: collect the predictions of all ranks and evaluate on the main one; otherwise
            each rank evaluates its own.
        output_dir: folder for the predictions; None writes nothing.
        max_dets_per_image: most detections per image that count; None stands for the metric's own
            limit.

    Attributes:
        curves: after :meth:`evaluate`, on the rank that evaluated, precision and recall of each
            task.

    Raises:
        ValueError: if ``tasks`` names others, or ``max_dets_per_image`` is below 1.
    """

    TASKS: ClassVar[tuple[Task, ...]] = ("bbox", "segm")
    RESULTS_FILE: ClassVar[str]

    def __init__(
        self,
        ground_truth: CocoGroundTruth,
        tasks: Sequence[Task] | Task | None,
        distributed: bool,
        output_dir: str | os.PathLike[str] | None,
        *,
        max_dets_per_image: int | None = None,
    ) -> None:
        super().__init__(distributed=distributed)
        if max_dets_per_image is not None and max_dets_per_image < 1:
            raise ValueError(f"max_dets_per_image is at least 1, got {max_dets_per_image}")
        self._max_dets_per_image = max_dets_per_image
        self._tasks = checked_tasks(tasks, self.TASKS)
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._ground_truth = ground_truth
        self._results: Scores = {}
        self.curves: dict[str, CocoCurves] = {}

    def reset(self) -> None:
        super().reset()
        self.curves = {}

    def score(self, results: CocoResults, task: Task, image_ids: list[int] | None) -> Scores:
        """Return the scores of one task, of some predictions.

        Args:
            results: columns of COCO's result format with the dataset's category ids.
            task: what is compared.
            image_ids: only these images; None means all.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement score()")

    def metric_names(self, task: Task) -> list[str]:
        """Return the names of a task's metrics, for when nothing was predicted."""
        raise NotImplementedError(f"{type(self).__name__} must implement metric_names()")

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
                prediction["instances"] = self._kept_instances(instances, record["image_id"])
            if "proposals" in output:
                proposals = output["proposals"].to(torch.device("cpu"))
                prediction["proposals"] = {
                    "boxes_xyxy": proposals.proposal_boxes.tensor,
                    "objectness_logits": proposals.objectness_logits,
                }
            self.keep(prediction)

    def _kept_instances(self, instances: Instances, image_id: int | str) -> Any:
        """What is kept of the predictions of an image: columns, or entries of COCO's format."""
        return instances_to_columns(instances, image_id)

    def evaluate(self, img_ids: Iterable[int] | None = None) -> Scores:
        """Evaluate everything since :meth:`reset`.

        Args:
            img_ids: only these images; None means all of the dataset.

        Returns:
            ``{task: {metric: score}}``, for proposals ``box_proposals`` with ``AR@100`` and so on.
            Empty on ranks other than the main one, where nothing was processed, and where the
            dataset has no annotations.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if a prediction is of a class or an image that the dataset lacks.
        """
        predictions = self.collected()
        if predictions is None:
            return {}
        if not predictions:
            _logger.warning("%s did not receive predictions for any image", type(self).__name__)
            return {}
        predictions = one_per_image(predictions)
        if self._output_dir is not None:
            buffer = io.BytesIO()
            torch.save([_in_plain_data(prediction) for prediction in predictions], buffer)
            write_atomically(self._output_dir / "instances_predictions.pth", buffer.getvalue())
        self._results = {}
        if any("proposals" in prediction for prediction in predictions):
            self._eval_box_proposals(predictions)
        if any("instances" in prediction for prediction in predictions):
            chosen = {} if img_ids is None else {"img_ids": list(img_ids)}
            self._eval_predictions(predictions, **chosen)
        return copy.deepcopy(self._results)

    def _eval_box_proposals(self, predictions: Sequence[dict[str, Any]]) -> None:
        """Put the scores of proposals into ``_results``; subclasses may overwrite it."""
        if not self._ground_truth.has_annotations:
            _logger.info("The dataset has no annotations; proposals are not evaluated")
            return
        proposals = [
            ImageProposals(
                prediction["image_id"],
                prediction["proposals"]["boxes_xyxy"],
                prediction["proposals"]["objectness_logits"],
            )
            for prediction in predictions
            if "proposals" in prediction
        ]
        self._results["box_proposals"] = proposal_recall(self._ground_truth, proposals)

    def _eval_predictions(
        self, predictions: Sequence[dict[str, Any]], img_ids: list[int] | None = None
    ) -> None:
        """Put the scores of instances into ``_results``; subclasses may overwrite it."""
        results = self._results_of(predictions)
        report_unusual_scores(results.scores, type(self).__name__)
        if self._output_dir is not None:
            written = json.dumps(results_as_entries(results))
            write_atomically(self._output_dir / self.RESULTS_FILE, written)
        if not self._ground_truth.has_annotations:
            _logger.info("The dataset has no annotations; predictions are not evaluated")
            return
        for task in self._tasks or self._tasks_from_predictions(results):
            if results_count(results):
                self._results |= self.score(results, task, img_ids)
            else:
                _logger.warning("The model predicted no instances at all")
                self._results[task] = dict.fromkeys(self.metric_names(task), math.nan)

    def _tasks_from_predictions(self, results: CocoResults) -> tuple[Task, ...]:
        """Those with a field in the results; outlines only where they were asked for."""
        first = self.TASKS[0]
        others: list[Task] = [
            task
            for task in self.TASKS[1:]
            if task != "boundary" and column_of(results, task) is not None
        ]
        return (first, *others)

    def _results_of(self, predictions: Sequence[dict[str, Any]]) -> CocoResults:
        """All instances with the dataset's category ids in place of the model's."""
        found = [one["instances"] for one in predictions if one.get("instances") is not None]
        results = joined_results(
            [one if isinstance(one, CocoResults) else columns_of_entries(one) for one in found]
        )
        category_ids, classes = self._ground_truth.category_ids, results.categories
        wrong = np.flatnonzero((classes < 0) | (classes >= len(category_ids)))
        if wrong.size:
            raise ValueError(
                f"a prediction for image {results.images[wrong].tolist()[0]!r} has class "
                f"{classes[wrong[0]]}, but {self._ground_truth.name!r} has {len(category_ids)} "
                f"classes (0..{len(category_ids) - 1}); the model was built for another dataset"
            )
        return results._replace(categories=ids_array(category_ids)[classes])


def _in_plain_data(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction of an image as it is written: entries of COCO's format, tensors."""
    if "instances" not in prediction:
        return prediction
    kept = prediction["instances"]
    if isinstance(kept, CocoResults):
        kept = results_as_entries(kept)
    return {**prediction, "instances": kept or []}
