"""Pascal VOC's metrics of a model's boxes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2_data import Metadata
from d2_data.datasets import load_voc_instances
from d2_eval.coco.predictions import check_instances, instances_of
from d2_eval.collecting import CollectingEvaluator, one_per_image
from d2_eval.dataset_metadata import metadata_of
from d2_eval.pascal_voc.average_precision import VocBoxes, VocObjects, voc_average_precision
from d2_eval.prediction_values import report_unusual_scores

_logger = logging.getLogger(__name__)

_PERCENTS = tuple(range(50, 100, 5))
_FIRST_YEAR_OF_AREAS = 2010


class PascalVOCDetectionEvaluator(CollectingEvaluator):
    """Average precision of boxes by Pascal VOC's rules, in percent.

    All ranks must call :meth:`evaluate`; the main one evaluates. Metadata: ``dirname``, the folder
    with ``Annotations`` and ``ImageSets``; ``split``, the list of images in ``ImageSets/Main``;
    ``year``, which decides on the average (eleven points until 2009, the area since); and
    ``thing_classes``. Pictures are not needed.

    As in the challenge's result files, predicted boxes are rounded to a tenth of a pixel.

    Args:
        dataset_name: a dataset's name in the catalog, or its ``Metadata``.

    Attributes:
        ap_per_class: after :meth:`evaluate`, on the rank that evaluated, the average precision of
            each class by IoU threshold in percent, e.g. ``ap_per_class["cat"][0.5]``; NaN for a
            class without an object that has to be found.

    Raises:
        KeyError: if the name is not known.
        ValueError: if the metadata lacks something.
    """

    def __init__(self, dataset_name: str | Metadata | Sequence[str | Metadata]) -> None:
        super().__init__()
        metadata = metadata_of(dataset_name)
        for key in ("dirname", "split", "year", "thing_classes"):
            if metadata.get(key) is None:
                raise ValueError(
                    f"the metadata of {metadata.name!r} has no {key!r}, which Pascal VOC's metrics "
                    "need; register the dataset with register_pascal_voc, or set it"
                )
        try:
            year = int(metadata.year)
        except ValueError:
            raise ValueError(
                f"the metadata of {metadata.name!r} has the year {metadata.year!r}, wanted a "
                "number: until 2009 precision is averaged over eleven points"
            ) from None
        self._name = metadata.name
        self._class_names: list[str] = list(metadata.thing_classes)
        self._place = metadata.dirname, metadata.split
        self._eleven_points = year < _FIRST_YEAR_OF_AREAS
        self.ap_per_class: dict[str, dict[float, float]] = {}

    def reset(self) -> None:
        super().reset()
        self.ap_per_class = {}

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in one batch.

        Args:
            inputs: one dict per image with ``image_id``, its name in the list.
            outputs: one dict per image with ``instances``: ``pred_boxes``, ``scores`` and
                ``pred_classes``.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if the lengths differ, a field is missing, a score is not finite, or a
                class is none of the dataset's.
        """
        self.check_was_reset("process")
        for record, output in zip(inputs, outputs, strict=True):
            if "image_id" not in record:
                raise ValueError(f"an input has no 'image_id'; it has {sorted(record)}")
            image = record["image_id"]
            instances = instances_of(output, image)
            check_instances(instances, image)
            classes = instances.pred_classes.numpy()
            outside = classes[(classes < 0) | (classes >= len(self._class_names))]
            if len(outside):
                raise ValueError(
                    f"a prediction for image {image!r} has class {outside[0]}, but {self._name!r} "
                    f"has {len(self._class_names)} classes (0..{len(self._class_names) - 1}); the "
                    "model was built for another dataset"
                )
            self.keep(
                {
                    "image_id": image,
                    "boxes": instances.pred_boxes.tensor.float(),
                    "scores": instances.scores,
                    "classes": instances.pred_classes,
                }
            )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate everything since :meth:`reset`, on all images of the split.

        Returns:
            ``bbox`` with ``AP`` (the mean over IoU 0.5, 0.55, …, 0.95), ``AP50`` and ``AP75``,
            each the mean over the classes that have objects to be found. Empty on other ranks
            than the main one.

        Raises:
            FileNotFoundError, ValueError: if an annotation is absent or malformed.
            RuntimeError: before :meth:`reset`.
            ValueError: if a prediction is of an image that is not in the split.
        """
        kept = self.collected()
        if kept is None:
            return {}
        records = load_voc_instances(*self._place, self._class_names)
        numbers = {record["image_id"]: number for number, record in enumerate(records)}
        objects, object_classes = _objects(records)
        split = f"{self._name!r}, split {self._place[1]!r}"
        detections, classes = _found(one_per_image(kept), numbers, split)
        report_unusual_scores(detections.scores.tolist(), type(self).__name__)
        thresholds = [percent / 100 for percent in _PERCENTS]
        table = np.empty((len(self._class_names), len(thresholds)))
        for number, name in enumerate(self._class_names):
            table[number] = 100 * voc_average_precision(
                objects.where(object_classes == number),
                detections.where(classes == number),
                thresholds,
                eleven_points=self._eleven_points,
            )
            self.ap_per_class[name] = dict(zip(thresholds, table[number].tolist(), strict=True))
        present = table[~np.isnan(table).any(axis=1)]
        if len(present) == 0:
            _logger.warning("%s has no object that has to be found", self._name)
            present = np.full((1, len(thresholds)), np.nan)
        means = present.mean(axis=0)
        return {
            "bbox": {
                "AP": float(means.mean()),
                "AP50": float(means[_PERCENTS.index(50)]),
                "AP75": float(means[_PERCENTS.index(75)]),
            }
        }


def _objects(records: Sequence[Mapping[str, Any]]) -> tuple[VocObjects, np.ndarray]:
    """All annotated objects, with the format's own pixels, and their classes."""
    rows = [
        (number, annotation)
        for number, record in enumerate(records)
        for annotation in record["annotations"]
    ]
    boxes = np.array([one["bbox"] for _, one in rows], np.float64).reshape(-1, 4)
    return (
        VocObjects(
            np.array([number for number, _ in rows], np.int64),
            boxes + np.array([1.0, 1.0, 0.0, 0.0]),
            np.array([bool(one.get("difficult")) for _, one in rows], bool),
        ),
        np.array([one["category_id"] for _, one in rows], np.int64),
    )


def _found(
    predictions: Sequence[Mapping[str, Any]], numbers: Mapping[Any, int], where: str
) -> tuple[VocBoxes, np.ndarray]:
    """All detections, with the format's own pixels, and their classes."""
    for prediction in predictions:
        if prediction["image_id"] not in numbers:
            raise ValueError(
                f"there are predictions for the image {prediction['image_id']!r}, which is not in "
                f"{where} (it lists {len(numbers)} images, e.g. {list(numbers)[:3]})"
            )
    if not predictions:
        return VocBoxes(np.empty(0, int), np.empty((0, 4)), np.empty(0)), np.empty(0, int)
    boxes = torch.cat([one["boxes"].reshape(-1, 4) for one in predictions]).numpy()
    counted_from_1 = boxes + np.array([1, 1, 0, 0], np.float32)
    rounded = [float(f"{value:.1f}") for value in counted_from_1.ravel().tolist()]
    return (
        VocBoxes(
            np.repeat(
                [numbers[one["image_id"]] for one in predictions],
                [len(one["scores"]) for one in predictions],
            ),
            np.array(rounded, np.float64).reshape(-1, 4),
            torch.cat([one["scores"] for one in predictions]).double().numpy(),
        ),
        torch.cat([one["classes"] for one in predictions]).numpy(),
    )
