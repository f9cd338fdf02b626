"""Pictures that show how well proposals cover the ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Instances

from ..events import get_event_storage
from .image_input import BatchedInputs

_NAME = "Left: GT bounding boxes;  Right: Predicted proposals"
_MAX_PROPOSALS = 20


def put_proposal_picture(
    batched_inputs: BatchedInputs, proposals: Sequence[Instances], input_format: str
) -> None:
    """Put the first image twice side by side into the event storage.

    Left it carries its ground truth boxes, right its 20 best proposals.

    Args:
        batched_inputs: dicts with ``image`` and ``instances``.
        proposals: for each image with ``proposal_boxes``, by decreasing score.
        input_format: ``"RGB"`` or ``"BGR"``.
    """
    from d2_structures.visualizer import Visualizer

    image = _to_rgb(batched_inputs[0]["image"], input_format)
    panels = []
    for boxes in (
        batched_inputs[0]["instances"].gt_boxes.tensor,
        proposals[0].proposal_boxes.tensor[:_MAX_PROPOSALS],
    ):
        drawn = Visualizer(image, None).overlay_instances(boxes=boxes.detach().cpu().numpy())
        panels.append(torch.from_numpy(drawn.get_image().copy()))
    picture = torch.cat(panels, dim=1).permute(2, 0, 1)
    get_event_storage().put_image(_NAME, picture)


def _to_rgb(image: Tensor, input_format: str) -> object:
    if input_format == "BGR":
        image = image.flip(0)
    return image.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
