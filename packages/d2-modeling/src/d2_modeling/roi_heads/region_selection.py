"""Which regions take part in the loss of a head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Instances

from ..batched_selection import rows_where
from ..events import active_event_storage


def select_foreground_proposals(
    proposals: Sequence[Instances], bg_label: int
) -> tuple[list[Instances], list[Tensor]]:
    """The labelled proposals that are neither background nor ignored.

    Args:
        proposals: for each image with ``gt_classes``.
        bg_label: label of the background.

    Returns:
        For each image its foreground proposals, and the (R_i,) bool mask of them.
    """
    masks = [(p.gt_classes != -1) & (p.gt_classes != bg_label) for p in proposals]
    chosen = [p[rows] for p, rows in zip(proposals, rows_where(masks), strict=True)]
    return chosen, masks


def select_proposals_with_visible_keypoints(proposals: Sequence[Instances]) -> list[Instances]:
    """The proposals that hold at least one visible keypoint of their ground truth.

    Args:
        proposals: for each image with ``proposal_boxes`` and (N, K, 3) ``gt_keypoints``.

    Raises:
        ValueError: if an image has no ``gt_keypoints``.
    """
    visible = []
    for image in proposals:
        if len(image) == 0:
            visible.append(torch.zeros(0, dtype=torch.bool, device=image.proposal_boxes.device))
            continue
        if not image.has("gt_keypoints"):
            raise ValueError(
                "training a keypoint head needs 'gt_keypoints', but the annotations of an image "
                "give no keypoints: they have none, or the mapper leaves them out (use_keypoint). "
                "Turn the head off (MODEL.KEYPOINT_ON = False, or keypoint_in_features=None), or "
                "give annotations with keypoints"
            )
        keypoints = image.gt_keypoints.tensor
        x, y, visibility = keypoints.unbind(dim=2)
        x1, y1, x2, y2 = image.proposal_boxes.tensor[:, :, None].unbind(dim=1)
        inside = (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
        visible.append(((visibility >= 1) & inside).any(dim=1))
    selected = [image[rows] for image, rows in zip(proposals, rows_where(visible), strict=True)]
    storage = active_event_storage()
    if storage is not None:
        storage.put_scalar(
            "keypoint_head/num_fg_samples",
            torch.tensor([float(len(image)) for image in selected]).mean(),
        )
    return selected
