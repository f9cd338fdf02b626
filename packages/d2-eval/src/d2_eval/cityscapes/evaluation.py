"""Cityscapes' metrics of a model's predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2_data import Metadata
from d2_data.datasets.cityscapes import CityscapesLabel, cityscapes_labels
from d2_eval.cityscapes.ground_truth import AnnotatedFrames
from d2_eval.cityscapes.instances import (
    CountedImage,
    PredictedMask,
    count_image,
    instance_average_precision,
)
from d2_eval.cityscapes.pixels import PixelCounts, pixel_scores
from d2_eval.coco.predictions import check_instances, instances_of
from d2_eval.collecting import CollectingEvaluator, one_per_image
from d2_eval.dataset_metadata import metadata_of
from d2_eval.label_maps import predicted_labels

_PERCENTS = tuple(range(50, 100, 5))


class _CityscapesEvaluator(CollectingEvaluator):
    """What both evaluators share: annotations, names of classes, one record for each frame."""

    def __init__(
        self, dataset_name: str | Metadata | Sequence[str | Metadata], what: str, classes: str
    ) -> None:
        super().__init__()
        metadata = metadata_of(dataset_name)
        if metadata.get("gt_dir") is None:
            raise ValueError(
                f"the metadata of {metadata.name!r} has no 'gt_dir', which holds Cityscapes' "
                "annotations, e.g. cityscapes/gtFine/val; set it"
            )
        labels = {x.name: x for x in cityscapes_labels().values() if x.is_evaluated}
        self._labels: list[CityscapesLabel] = []
        for name in metadata.get(classes) or ():
            if name not in labels:
                raise ValueError(
                    f"the metadata of {metadata.name!r} has the class {name!r} in {classes!r}, "
                    f"which is no evaluated label of Cityscapes; there are {list(labels)}"
                )
            self._labels.append(labels[name])
        if not self._labels:
            raise ValueError(f"the metadata of {metadata.name!r} has no {classes!r}; set them")
        self._name = metadata.name
        self._classes = classes
        self._gt_dir, self._what = metadata.gt_dir, what
        self._found_frames: AnnotatedFrames | None = None

    @property
    def _frames(self) -> AnnotatedFrames:
        """The annotations, looked for when first needed."""
        if self._found_frames is None:
            self._found_frames = AnnotatedFrames(self._gt_dir, self._what)
        return self._found_frames

    def _frame_of(self, record: Mapping[str, Any]) -> str:
        self.check_was_reset("process")
        if "file_name" not in record:
            raise ValueError(
                f"an input has no 'file_name', by which its annotation is found; it has "
                f"{sorted(record)}"
            )
        return self._frames.name_of(record["file_name"])

    def _all_frames(self) -> list[dict[str, Any]] | None:
        """One record for each annotated frame; None on ranks that do not evaluate."""
        kept = self.collected()
        if kept is None:
            return None
        records = one_per_image(kept)
        self._frames.check_complete({record["image_id"] for record in records})
        return records


class CityscapesInstanceEvaluator(_CityscapesEvaluator):
    """Cityscapes' average precision of instance masks, in percent.

    All ranks must call :meth:`evaluate`, and it works across machines; the main rank evaluates.
    Metadata: ``gt_dir``, the folder with the ``instanceIds`` images, e.g. ``gtFine/val``, and
    ``thing_classes``. Nothing is written, and cityscapesscripts is not needed.

    Args:
        dataset_name: a dataset's name in the catalog, or its ``Metadata``.

    Attributes:
        ap_per_class: after :meth:`evaluate`, on the rank that evaluated, the average precision of
            each class by IoU threshold in percent, e.g. ``ap_per_class["car"][0.5]``; NaN for a
            class without an object that has to be found.

    Raises:
        KeyError: if the name is not known.
        ValueError: if the metadata lacks something, or names classes that Cityscapes lacks.
    """

    def __init__(self, dataset_name: str | Metadata | Sequence[str | Metadata]) -> None:
        super().__init__(dataset_name, "instanceIds", "thing_classes")
        self.ap_per_class: dict[str, dict[float, float]] = {}

    def reset(self) -> None:
        super().reset()
        self.ap_per_class = {}

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in one batch.

        Args:
            inputs: one dict per image with ``file_name``.
            outputs: one dict per image with ``instances``: ``pred_masks`` (N, H, W) bool,
                ``scores`` and ``pred_classes``.

        Raises:
            RuntimeError: before :meth:`reset`.
            FileNotFoundError: if ``gt_dir`` has no annotations.
            ValueError: if the lengths or the sizes of images differ, a photograph is not
                annotated, a field is missing, or a class is none of the dataset's.
        """
        self.check_was_reset("process")
        for record, output in zip(inputs, outputs, strict=True):
            frame = self._frame_of(record)
            instances = instances_of(output, frame)
            check_instances(instances, frame, ("pred_masks", "scores", "pred_classes"))
            classes = instances.pred_classes.tolist()
            for number in classes:
                if not 0 <= number < len(self._labels):
                    raise ValueError(
                        f"a prediction for {record['file_name']!r} has class {number}, but "
                        f"{self._name!r} has {len(self._labels)} classes; the model was built for "
                        "another dataset"
                    )
            masks = getattr(instances.pred_masks, "tensor", instances.pred_masks)
            try:
                counted = count_image(
                    self._frames.read(frame),
                    [self._labels[number].id for number in classes],
                    instances.scores.tolist(),
                    masks.numpy().astype(bool, copy=False),
                )
            except ValueError as error:
                file = self._frames.file(frame)
                raise ValueError(
                    f"{file} does not fit the prediction for {record['file_name']!r}: {error}"
                ) from error
            self.keep(
                {
                    "image_id": frame,
                    "objects": counted.objects,
                    "predictions": [tuple(one) for one in counted.predictions],
                }
            )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate everything since :meth:`reset`, on all annotated frames.

        Returns:
            ``segm`` with ``AP`` (the mean over IoU 0.5, 0.55, …, 0.95) and ``AP50``, each the mean
            over the classes that have objects to be found. Empty on other ranks than the main
            one.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if an annotated frame was not processed.
        """
        records = self._all_frames()
        if records is None:
            return {}
        images = [
            CountedImage(one["objects"], [PredictedMask(*entry) for entry in one["predictions"]])
            for one in records
        ]
        thresholds = [percent / 100 for percent in _PERCENTS]
        objects = [label for label in cityscapes_labels().values() if label.has_instances]
        table = []
        for label in objects:
            if not label.is_evaluated:
                continue
            row = [100 * instance_average_precision(images, label.id, one) for one in thresholds]
            self.ap_per_class[label.name] = dict(zip(thresholds, row, strict=True))
            if not np.isnan(row).any():
                table.append(row)
        means = np.mean(table, axis=0) if table else np.full(len(thresholds), np.nan)
        return {"segm": {"AP": float(np.mean(means)), "AP50": float(means[0])}}


class CityscapesSemSegEvaluator(_CityscapesEvaluator):
    """Cityscapes' scores of semantic segmentation, in percent.

    All ranks must call :meth:`evaluate`, and it works across machines; the main rank evaluates.
    Metadata: ``gt_dir``, the folder with the ``labelIds`` and ``instanceIds`` images, e.g.
    ``gtFine/val``, and ``stuff_classes``. Nothing is written, and cityscapesscripts is not needed.

    Args:
        dataset_name: a dataset's name in the catalog, or its ``Metadata``.

    Attributes:
        iou_per_class: after :meth:`evaluate`, on the rank that evaluated, the IoU of each class in
            percent.

    Raises:
        KeyError: if the name is not known.
        ValueError: if the metadata lacks something, or names classes that Cityscapes lacks.
    """

    def __init__(self, dataset_name: str | Metadata | Sequence[str | Metadata]) -> None:
        super().__init__(dataset_name, "labelIds", "stuff_classes")
        self._ids = np.array([label.id for label in self._labels], np.int64)
        self.iou_per_class: dict[str, float] = {}

    def reset(self) -> None:
        super().reset()
        self.iou_per_class = {}

    def process(
        self,
        inputs: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any] | torch.Tensor],
    ) -> None:
        """Take in one batch.

        Args:
            inputs: one dict per image with ``file_name``.
            outputs: for each image a dict with ``sem_seg``, or that itself: (C, H, W) scores of
                the classes, or (H, W) classes.

        Raises:
            RuntimeError: before :meth:`reset`.
            FileNotFoundError: if ``gt_dir`` has no annotations.
            ValueError: if the lengths or the sizes of images differ, a photograph is not
                annotated, or a class is none of the dataset's.
        """
        self.check_was_reset("process")
        for record, output in zip(inputs, outputs, strict=True):
            frame = self._frame_of(record)
            classes = predicted_labels(output, len(self._labels), record["file_name"])
            try:
                counts = PixelCounts.of(
                    self._ids[classes],
                    self._frames.read(frame),
                    self._frames.read(frame, "instanceIds"),
                )
            except ValueError as error:
                file = self._frames.file(frame)
                raise ValueError(
                    f"{file} does not fit the prediction for {record['file_name']!r}: {error}"
                ) from error
            self.keep({"image_id": frame, "confusion": counts.confusion, "objects": counts.objects})

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate everything since :meth:`reset`, on all annotated frames.

        Returns:
            ``sem_seg`` with ``IoU``, ``iIoU`` (every object weighs as much), and of groups of
            classes ``IoU_sup`` and ``iIoU_sup``. Empty on other ranks than the main one.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if an annotated frame was not processed.
        """
        records = self._all_frames()
        if records is None:
            return {}
        scores, self.iou_per_class = pixel_scores(
            PixelCounts(one["confusion"], one["objects"]) for one in records
        )
        return {"sem_seg": scores}
