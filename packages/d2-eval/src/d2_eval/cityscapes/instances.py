"""Cityscapes' average precision of instance masks.

An object of at least 100 pixels has to be found. A prediction that finds none is not wrong where
enough of it lies on pixels that are not evaluated, on a group of objects, or on a smaller object.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016, and
the evaluation scripts at https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from d2_data.datasets.cityscapes import cityscapes_labels

LEAST_PIXELS = 100
FIRST_INSTANCE_ID = 1000
"""Smaller numbers in ``instanceIds`` images are labels: of stuff, or of a group of objects."""


class PredictedMask(NamedTuple):
    """A prediction and what it shares with the annotations of its image.

    Attributes:
        label: its id in Cityscapes.
        score: how sure the model is.
        pixels: of the mask.
        void: pixels of it that are not evaluated.
        shared: pixels in common with objects of the label, by the object's place.
    """

    label: int
    score: float
    pixels: int
    void: int
    shared: dict[int, int]


class CountedImage(NamedTuple):
    """What has been counted in an image.

    Attributes:
        objects: of each label, its objects: (whether it is one object, its pixels).
        predictions: with at least one pixel.
    """

    objects: dict[int, list[tuple[bool, int]]]
    predictions: list[PredictedMask]


def count_image(
    instance_ids: np.ndarray, labels: Sequence[int], scores: Sequence[float], masks: np.ndarray
) -> CountedImage:
    """Count the pixels that annotations and predictions share.

    Args:
        instance_ids: (H, W) int, an ``instanceIds`` image.
        labels: of the N predictions, ids in Cityscapes.
        scores: of the predictions.
        masks: (N, H, W) bool.

    Raises:
        ValueError: if sizes differ.
    """
    if masks.shape[1:] != instance_ids.shape and len(masks):
        raise ValueError(
            f"masks are of {masks.shape[1]}x{masks.shape[2]} pixels, the annotation of "
            f"{instance_ids.shape[0]}x{instance_ids.shape[1]}"
        )
    void_labels = [label.id for label in cityscapes_labels().values() if not label.is_evaluated]
    objects: dict[int, list[tuple[bool, int]]] = {}
    places: dict[int, int] = {}
    for number, pixels in zip(*_counts(instance_ids), strict=True):
        single = number >= FIRST_INSTANCE_ID
        of_label = objects.setdefault(number // FIRST_INSTANCE_ID if single else number, [])
        places[number] = len(of_label)
        of_label.append((single, pixels))
    predictions = []
    for label, score, mask in zip(labels, scores, masks, strict=True):
        covered = dict(zip(*_counts(instance_ids[mask]), strict=True))
        if not covered:
            continue
        shared = {
            places[number]: pixels
            for number, pixels in covered.items()
            if (number // FIRST_INSTANCE_ID if number >= FIRST_INSTANCE_ID else number) == label
        }
        void = sum(pixels for number, pixels in covered.items() if number in void_labels)
        predictions.append(PredictedMask(label, score, sum(covered.values()), void, shared))
    return CountedImage(objects, predictions)


def instance_average_precision(
    images: Iterable[CountedImage], label: int, threshold: float
) -> float:
    """Return the average precision of one label at one overlap.

    Args:
        images: what has been counted.
        label: its id in Cityscapes.
        threshold: overlap (intersection over union) above which an object is found.

    Returns:
        Within [0, 1]; NaN if no object has to be found.
    """
    right: list[float] = []
    wrong: list[float] = []
    missed = 0
    for image in images:
        objects = image.objects.get(label, [])
        found: dict[int, list[float]] = {
            place: []
            for place, (single, pixels) in enumerate(objects)
            if single and pixels >= LEAST_PIXELS
        }
        for prediction in image.predictions:
            if prediction.label != label:
                continue
            hits = [
                place
                for place, common in prediction.shared.items()
                if common / (objects[place][1] + prediction.pixels - common) > threshold
            ]
            for place in hits:
                if place in found:
                    found[place].append(prediction.score)
            if not hits and _excused(prediction, objects) / prediction.pixels <= threshold:
                wrong.append(prediction.score)
        for scores in found.values():
            ranked = sorted(scores, reverse=True)
            right += ranked[:1]
            wrong += ranked[1:]
            missed += not ranked
    if not right and not missed:
        return float("nan")
    return _average(np.array(right), np.array(wrong), missed)


def _counts(ids: np.ndarray) -> tuple[list[int], list[int]]:
    numbers, pixels = np.unique(ids, return_counts=True)
    return numbers.tolist(), pixels.tolist()


def _excused(prediction: PredictedMask, objects: Sequence[tuple[bool, int]]) -> int:
    """Pixels for which a prediction that finds nothing is not to blame."""
    excused = prediction.void
    for place, common in prediction.shared.items():
        single, pixels = objects[place]
        excused += common * ((not single) + (pixels < LEAST_PIXELS))
    return excused


def _average(right: np.ndarray, wrong: np.ndarray, missed: int) -> float:
    """Integrate precision over recall, between the scores by the trapezoidal rule.

    Args:
        right: scores of the objects that were found.
        wrong: scores of the other predictions that count.
        missed: objects that were not.
    """
    levels = np.unique(np.concatenate((right, wrong)))
    if len(levels) == 0:
        return 0.0
    true = (right[None, :] >= levels[:, None]).sum(axis=1)
    false = (wrong[None, :] >= levels[:, None]).sum(axis=1)
    precision = np.append(true / (true + false), 1.0)
    recall = np.append(true / (len(right) + missed), 0.0)
    padded = np.concatenate((recall[:1], recall, [0.0]))
    return float(np.dot(precision, 0.5 * (padded[:-2] - padded[2:])))
