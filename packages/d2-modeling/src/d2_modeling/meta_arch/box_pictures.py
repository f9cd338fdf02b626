"""Pictures that show predicted boxes beside the ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..events import get_event_storage

_MAX_BOXES = 20


def put_box_picture(
    entry: Mapping[str, Any], boxes_xyxy: Tensor, input_format: str, name: str
) -> None:
    """Put an image twice side by side into the event storage.

    Left it carries its ground truth boxes, right the 20 first of the predicted ones.

    Args:
        entry: dict with ``image`` and ``instances``.
        boxes_xyxy: (N, 4) predicted boxes in pixels of the image, the best first.
        input_format: ``"RGB"`` or ``"BGR"``.
        name: of the picture.
    """
    from d2_structures.visualizer import Visualizer

    image = _to_rgb(entry["image"], input_format)
    panels = []
    for boxes in (entry["instances"].gt_boxes.tensor, boxes_xyxy[:_MAX_BOXES]):
        drawn = Visualizer(image, None).overlay_instances(boxes=boxes.detach().cpu().numpy())
        panels.append(torch.from_numpy(drawn.get_image().copy()))
    get_event_storage().put_image(name, torch.cat(panels, dim=1).permute(2, 0, 1))


def _to_rgb(image: Tensor, input_format: str) -> object:
    if input_format == "BGR":
        image = image.flip(0)
    return image.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
