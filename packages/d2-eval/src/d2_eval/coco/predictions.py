"""Model outputs in COCO's result format: as entries, and as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2_eval.prediction_values import check_classes
from d2_ops.host import CocoResults
from d2_structures import Instances
from d2_structures.conversions import instances_to_coco, predictions_to_coco_results


def instances_to_coco_json(instances: Instances, image_id: int | str) -> list[dict[str, Any]]:
    """Turn the instances of one image into COCO results, with the model's own class ids.

    Args:
        instances: on the CPU, with ``pred_boxes`` (``Boxes``), ``scores`` and ``pred_classes``,
            and optionally ``pred_masks`` ((N, H, W) bool, a tensor or an object with ``tensor``)
            and ``pred_keypoints`` ((N, K, 3): continuous x, y in pixels and a score).
        image_id: the image's id in the dataset.

    Returns:
        One dict per instance: ``image_id``, ``category_id``, ``score``, ``bbox`` (XYWH pixels),
        and where predicted ``segmentation`` (compressed run lengths, text) and ``keypoints``
        (pixel indices, −0.5).

    Raises:
        ValueError: if a field is missing, or scores are not finite.
    """
    if len(instances) == 0:
        return []
    check_instances(instances, image_id)
    return instances_to_coco(instances, image_id)


def instances_to_columns(instances: Instances, image_id: int | str) -> CocoResults | None:
    """Return the same predictions as columns, without an object for each; None where none are.

    Args:
        instances: see :func:`instances_to_coco_json`.
        image_id: the image's id in the dataset.

    Raises:
        ValueError: if a field is missing, or scores are not finite.
    """
    if len(instances) == 0:
        return None
    check_instances(instances, image_id)
    return predictions_to_coco_results(instances, image_id)


def check_instances(
    instances: Instances,
    image_id: int | str,
    fields: Sequence[str] = ("pred_boxes", "scores", "pred_classes"),
) -> None:
    """Refuse predictions of an image that cannot be evaluated.

    Args:
        instances: the predictions.
        image_id: names the image in errors.
        fields: what is needed.

    Raises:
        ValueError: if a field is missing, scores or boxes are not finite, or classes are no whole
            numbers.
    """
    for field in fields:
        if not instances.has(field):
            raise ValueError(
                f"predictions of image {image_id!r} lack {field!r}; they have "
                f"{sorted(instances.get_fields())}"
            )
    if not _all_finite(instances.scores):
        raise ValueError(f"predictions of image {image_id!r} have scores that are not finite")
    if "pred_classes" in fields:
        check_classes(instances.pred_classes, image_id)
    if "pred_boxes" in fields and not _all_finite(instances.pred_boxes.tensor):
        raise ValueError(f"predictions of image {image_id!r} have boxes that are not finite")


def _all_finite(numbers: torch.Tensor) -> bool:
    """By NumPy, which takes less for the few numbers of an image."""
    if numbers.dtype not in (torch.float32, torch.float64):
        return bool(torch.isfinite(numbers).all())
    return bool(np.isfinite(numbers.detach().numpy()).all())


def instances_of(output: Mapping[str, Any], image_id: int | str) -> Instances:
    """Return the instances in a model's output for an image, on the CPU.

    Args:
        output: a dict with ``instances``.
        image_id: names the image in errors.

    Raises:
        ValueError: if there are none.
    """
    if "instances" not in output:
        raise ValueError(
            f"the output for image {image_id!r} has no 'instances'; it has {sorted(output)}"
        )
    instances: Instances = output["instances"].to(torch.device("cpu"))
    return instances
