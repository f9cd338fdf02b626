"""COCO's metrics of predictions and ground truths that are both in memory, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2_eval.coco.curves import CocoCurves
from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.predictions import instances_to_columns
from d2_eval.coco.result_arrays import joined_results
from d2_eval.coco.results import evaluate_coco_results
from d2_eval.coco.settings import FIELDS, Task, checked_tasks
from d2_eval.collecting import CollectingEvaluator
from d2_ops.host import CocoResults
from d2_structures import BitMasks, Boxes, Instances, Keypoints
from d2_structures.conversions import instances_to_coco

Objects = Instances | Mapping[str, Any]
"""Objects of an image: ``Instances``, or a dict of tensors as torchvision's models have it."""


class CocoMetric:
    """COCO's average precision, without a dataset: ``update`` with each batch, then ``compute``.

    It is to be used as metrics of torchmetrics are, e.g. in the validation loop of any trainer.
    Ground truths of images are those that come with their predictions.

    Args:
        tasks: one or some of ``"bbox"``, ``"segm"``, ``"boundary"``, ``"keypoints"``.
        class_names: of the K classes; None numbers them up to the highest that occurs.
        max_detections: most detections per image that count, by default 100 (20 for keypoints).
        kpt_oks_sigmas: per keypoint the tolerance of COCO's similarity; empty uses COCO's 17.
        distributed: compute on the main rank over all ranks; otherwise each computes its own.

    Attributes:
        curves: after :meth:`compute`, precision and recall of each task.

    Raises:
        ValueError: for other tasks.
    """

    def __init__(
        self,
        tasks: Sequence[Task] | Task = "bbox",
        *,
        class_names: Sequence[str] | None = None,
        max_detections: int | None = None,
        kpt_oks_sigmas: Sequence[float] = (),
        distributed: bool = True,
    ) -> None:
        known: tuple[Task, ...] = ("bbox", "segm", "boundary", "keypoints")
        self._tasks = checked_tasks(tasks, known) or ()
        self._class_names = None if class_names is None else tuple(class_names)
        self._max_detections = max_detections
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        self._images = CollectingEvaluator(distributed=distributed)
        self.curves: dict[str, CocoCurves] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images.reset()
        self.curves = {}

    def update(self, predictions: Sequence[Objects], targets: Sequence[Objects]) -> None:
        """Take in a batch.

        Args:
            predictions: of each image ``Instances`` with ``pred_boxes``, ``scores``,
                ``pred_classes`` and, as the tasks need them, ``pred_masks`` and
                ``pred_keypoints``; or a dict with ``boxes`` (N, 4) XYXY pixels, ``scores`` (N,),
                ``labels`` (N,) and maybe ``masks`` (N, H, W) and ``keypoints`` (N, K, 3).
            targets: of each image ``Instances`` with ``gt_boxes``, ``gt_classes`` and likewise; or
                such a dict without ``scores``, and maybe with ``iscrowd`` (N,).

        Raises:
            ValueError: if lengths differ, a field is missing, or a number is not finite.
        """
        if len(predictions) != len(targets):
            raise ValueError(f"got {len(predictions)} predictions but {len(targets)} targets")
        for found, wanted in zip(predictions, targets, strict=True):
            instances, truths = _instances(found, True), _instances(wanted, False)
            results = instances_to_columns(instances, 0)
            annotations = instances_to_coco(truths, 0) if len(truths) else []
            size = [int(side) for side in truths.image_size]
            self._images.keep({"size": size, "results": results, "annotations": annotations})

    def compute(self) -> dict[str, dict[str, float]]:
        """Evaluate all images since :meth:`reset`. With several processes, all ranks must call it.

        Returns:
            ``{task: {metric: percent}}`` as :meth:`~d2_eval.COCOEvaluator.evaluate` returns it;
            empty on other ranks than the main one.

        Raises:
            ValueError: if a class is beyond ``class_names``, or a prediction or a ground truth
                lacks what a task compares.
        """
        images = self._images.collected()
        if images is None:
            return {}
        results = _numbered([image["results"] for image in images])
        for number, image in enumerate(images, start=1):
            for entry in image["annotations"]:
                entry["image_id"] = number
        annotations = [one for image in images for one in image["annotations"]]
        names = self._names(results, annotations)
        self._check_fields(annotations)
        truth = CocoGroundTruth.in_memory(
            [
                {"id": number, "height": image["size"][0], "width": image["size"][1]}
                for number, image in enumerate(images, start=1)
            ],
            annotations,
            names,
        )
        scores: dict[str, dict[str, float]] = {}
        for task in self._tasks:
            self.curves[task] = evaluate_coco_results(
                truth,
                results,
                task,
                max_detections=self._max_detections,
                kpt_oks_sigmas=self._kpt_oks_sigmas,
            )
            scores[task] = self.curves[task].scores_by_name()
        return scores

    def _names(
        self, results: CocoResults, annotations: Sequence[Mapping[str, Any]]
    ) -> tuple[str, ...]:
        highest = max((entry["category_id"] for entry in annotations), default=-1)
        highest = max(highest, int(results.categories.max(initial=-1)))
        if self._class_names is None:
            return tuple(str(number) for number in range(highest + 1))
        if highest >= len(self._class_names):
            raise ValueError(
                f"there is an object of class {highest}, but {len(self._class_names)} class_names: "
                f"{list(self._class_names)}"
            )
        return self._class_names

    def _check_fields(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        for task in self._tasks:
            for annotation in annotations:
                if FIELDS[task] not in annotation:
                    raise ValueError(
                        f"a target of image {annotation['image_id']} has no {FIELDS[task]}, which "
                        f"{task} compares; images are counted from 1"
                    )


def _numbered(results: Sequence[CocoResults | None]) -> CocoResults:
    """Predictions of several images, which are numbered from 1."""
    return joined_results(
        [
            one._replace(images=np.full(len(one.images), number))
            for number, one in enumerate(results, start=1)
            if one is not None
        ]
    )


def _instances(objects: Objects, predicted: bool) -> Instances:
    """Objects on the CPU, under the documented names of predictions or of ground truths."""
    if isinstance(objects, Instances):
        return objects.to(torch.device("cpu"))
    kind = "prediction" if predicted else "target"
    needed = ("boxes", "labels", "scores") if predicted else ("boxes", "labels")
    for key in needed:
        if key not in objects:
            raise ValueError(f"a {kind} has no {key!r}; it has {sorted(objects)}")
    given = {key: torch.as_tensor(value).cpu() for key, value in objects.items()}
    size = (0, 0)
    if "masks" in given:
        masks = given["masks"].squeeze(1) if given["masks"].ndim == 4 else given["masks"]
        given["masks"] = masks.bool() if masks.dtype != torch.float32 else masks >= 0.5
        size = (masks.shape[-2], masks.shape[-1])
    prefix = "pred" if predicted else "gt"
    instances = Instances(size)
    instances.set(f"{prefix}_boxes", Boxes(given["boxes"].reshape(-1, 4).float()))
    instances.set(f"{prefix}_classes", given["labels"].long())
    if predicted:
        instances.scores = given["scores"].float()
    if "masks" in given:
        instances.set(f"{prefix}_masks", given["masks"] if predicted else BitMasks(given["masks"]))
    if "keypoints" in given:
        points = given["keypoints"].float()
        instances.set(f"{prefix}_keypoints", points if predicted else Keypoints(points))
    if not predicted and "iscrowd" in given:
        instances.gt_iscrowd = given["iscrowd"]
    return instances
