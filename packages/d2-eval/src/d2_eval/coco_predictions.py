"""Model outputs as entries of COCO's result format."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from d2_ops.host import rle_encode
from d2_structures import BoxMode, Instances


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
    for field in ("pred_boxes", "scores", "pred_classes"):
        if not instances.has(field):
            raise ValueError(
                f"predictions of image {image_id!r} lack {field!r}; they have "
                f"{sorted(instances.get_fields())}"
            )
    if not bool(torch.isfinite(instances.scores).all()):
        raise ValueError(f"predictions of image {image_id!r} have scores that are not finite")
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        for category, box, score in zip(
            instances.pred_classes.tolist(), boxes.tolist(), instances.scores.tolist(), strict=True
        )
    ]
    if instances.has("pred_masks"):
        masks = instances.pred_masks
        for result, rle in zip(results, _encode(getattr(masks, "tensor", masks)), strict=True):
            result["segmentation"] = rle
    if instances.has("pred_keypoints"):
        keypoints = instances.pred_keypoints.detach().clone()
        keypoints[:, :, :2] -= 0.5
        for result, points in zip(results, keypoints.flatten(1).tolist(), strict=True):
            result["keypoints"] = points
    return results


def _encode(masks: torch.Tensor) -> list[dict[str, Any]]:
    array = np.ascontiguousarray(masks.detach().cpu().numpy()).astype(bool, copy=False)
    return [
        {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
        for rle in rle_encode(array)
    ]
