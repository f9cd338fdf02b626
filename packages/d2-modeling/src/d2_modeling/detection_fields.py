"""The names of detections in graphs of tensors, and in `Instances`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from d2_structures import Instances

from .box_kinds import box_kind

__all__ = ["INSTANCE_FIELDS", "instances_of"]

INSTANCE_FIELDS: Mapping[str, str] = {
    "boxes": "pred_boxes",
    "scores": "scores",
    "classes": "pred_classes",
    "mask_probabilities": "pred_masks",
    "keypoints": "pred_keypoints",
}
"""For each output of a graph, see `d2_modeling.export.graph`, the field of `Instances`."""


def instances_of(outputs: Mapping[str, Tensor], image_size: Any) -> Instances:
    """The detections of one image.

    Args:
        outputs: by the names of a graph; boxes are (D, 4) XYXY or (D, 5) rotated. What is no field
            of `Instances` is left out.
        image_size: height and width in pixels; in a trace a pair of tensors.
    """
    fields: dict[str, Any] = {
        field: outputs[name] for name, field in INSTANCE_FIELDS.items() if name in outputs
    }
    boxes = outputs["boxes"]
    fields["pred_boxes"] = box_kind(boxes.shape[1]).boxes(boxes)
    return Instances(image_size, **fields)
