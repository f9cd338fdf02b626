"""Cityscapes' scores of semantic segmentation.

Besides the overlap of each class (IoU) there is one in which every object weighs as much as an
average object of its class (iIoU), and both for the groups of classes (``_sup``).

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016, and
the evaluation scripts at https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from d2_data.datasets.cityscapes import cityscapes_labels
from d2_eval.cityscapes.instances import FIRST_INSTANCE_ID
from d2_ops.host import confusion_matrix

AVERAGE_PIXELS: Mapping[str, float] = MappingProxyType(
    {
        "bicycle": 4672.3249222261,
        "bus": 35732.1511111111,
        "car": 12794.0202738185,
        "motorcycle": 6298.7200839748,
        "person": 3462.4756337644,
        "rider": 3930.4788056518,
        "train": 67583.7075812274,
        "truck": 27855.1264367816,
    }
)
"""Of the objects in the training set, as the evaluation scripts state them."""

_LABELS = 34


class PixelCounts(NamedTuple):
    """What has been counted in an image.

    Attributes:
        confusion: (34, 34) int64 pixels by ids in Cityscapes: predicted down, annotated across.
        objects: of each object its label, its pixels, those predicted as its label, and those
            predicted as any label of its group.
    """

    confusion: np.ndarray
    objects: list[tuple[int, int, int, int]]

    @classmethod
    def of(
        cls, predicted_ids: np.ndarray, label_ids: np.ndarray, instance_ids: np.ndarray
    ) -> PixelCounts:
        """Compare a prediction with annotations.

        Args:
            predicted_ids: (H, W) int, evaluated labels by their ids in Cityscapes.
            label_ids: (H, W) int, a ``labelIds`` image.
            instance_ids: (H, W) int, an ``instanceIds`` image.

        Raises:
            ValueError: if sizes differ, or an annotated id is no label.
        """
        if instance_ids.shape != label_ids.shape:
            raise ValueError(
                f"labelIds are of {label_ids.shape[0]}x{label_ids.shape[1]} pixels, instanceIds "
                f"of {instance_ids.shape[0]}x{instance_ids.shape[1]}"
            )
        groups = _groups()
        confusion = confusion_matrix(predicted_ids, label_ids, _LABELS)
        single = instance_ids > FIRST_INSTANCE_ID
        numbers = instance_ids[single]
        predicted = predicted_ids[single]
        objects = []
        for number in np.unique(numbers).tolist():
            label = number // FIRST_INSTANCE_ID
            if label not in groups:
                continue
            inside = predicted[numbers == number]
            group = [other for other, name in groups.items() if name == groups[label]]
            hits = int((inside == label).sum()), int(np.isin(inside, group).sum())
            objects.append((label, len(inside), *hits))
        return cls(confusion, objects)


def pixel_scores(images: Iterable[PixelCounts]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the averages, and the IoU of each class.

    Args:
        images: what has been counted.

    Returns:
        ``IoU``, ``iIoU``, ``IoU_sup`` and ``iIoU_sup``; and ``{class: IoU}``. All in percent, NaN
        where nothing is annotated or predicted. An average is of the classes that have a figure.
    """
    confusion = np.zeros((_LABELS, _LABELS), np.int64)
    weighted: dict[int | str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    groups = _groups()
    names = {label.id: label.name for label in cityscapes_labels().values()}
    for image in images:
        confusion += image.confusion
        for label, pixels, as_label, as_group in image.objects:
            weight = AVERAGE_PIXELS[names[label]] / pixels
            weighted[label] += weight * np.array([as_label, pixels - as_label])
            weighted[groups[label]] += weight * np.array([as_group, pixels - as_group])
    evaluated = list(groups)
    classes = {label: [label] for label in evaluated}
    supers = {
        name: [label for label in evaluated if groups[label] == name] for name in groups.values()
    }
    iou = {label: _overlap(confusion, members, evaluated) for label, members in classes.items()}
    with_objects = {label for label in evaluated if names[label] in AVERAGE_PIXELS}
    scores = {
        "IoU": _mean(iou.values()),
        "iIoU": _mean(
            _weighted_overlap(confusion, classes[label], evaluated, weighted[label])
            for label in evaluated
            if label in with_objects
        ),
        "IoU_sup": _mean(_overlap(confusion, members, evaluated) for members in supers.values()),
        "iIoU_sup": _mean(
            _weighted_overlap(confusion, members, evaluated, weighted[name])
            for name, members in supers.items()
            if with_objects.issuperset(members)
        ),
    }
    return (
        {name: 100 * value for name, value in scores.items()},
        {names[label]: 100 * value for label, value in iou.items()},
    )


def _groups() -> dict[int, str]:
    """The group of each evaluated label, by its id."""
    return {
        label.id: label.supercategory or ""
        for label in cityscapes_labels().values()
        if label.is_evaluated
    }


def _overlap(confusion: np.ndarray, members: Sequence[int], evaluated: Sequence[int]) -> float:
    """Intersection over union of one or several labels taken together."""
    hits = int(confusion[np.ix_(members, members)].sum())
    annotated = int(confusion[:, members].sum())
    union = annotated + _false(confusion, members, evaluated)
    return hits / union if union else math.nan


def _weighted_overlap(
    confusion: np.ndarray, members: Sequence[int], evaluated: Sequence[int], weighted: np.ndarray
) -> float:
    """The same with weighted pixels of objects, found and missed."""
    union = float(weighted.sum()) + _false(confusion, members, evaluated)
    return float(weighted[0]) / union if union else math.nan


def _false(confusion: np.ndarray, members: Sequence[int], evaluated: Sequence[int]) -> int:
    """Pixels of other evaluated labels that are predicted as one of these."""
    others = [label for label in evaluated if label not in members]
    return int(confusion[np.ix_(members, others)].sum())


def _mean(values: Iterable[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan
