"""Which regions take part in the loss of a head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Instances

from ..batched_selection import rows_where
from ..events import active_event_storage
from ..host_waits import remembered


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
    rows = foreground_rows(proposals, bg_label)
    chosen = [p[image_rows] for p, image_rows in zip(proposals, rows, strict=True)]
    return chosen, _foreground(proposals, bg_label)


def foreground_rows(proposals: Sequence[Instances], bg_label: int) -> list[Tensor]:
    """For each image the int64 rows of what `select_foreground_proposals` selects.

    The host waits for the device once; not at all for what `ROIHeads` has drawn.
    """
    known = [remembered(p.gt_classes) or (None, 0) for p in proposals]
    if any(background != bg_label for background, _ in known):
        return rows_where(_foreground(proposals, bg_label))
    return [
        torch.arange(count, device=p.gt_classes.device)
        for (_, count), p in zip(known, proposals, strict=True)
    ]


def _foreground(proposals: Sequence[Instances], bg_label: int) -> list[Tensor]:
    return [(p.gt_classes != -1) & (p.gt_classes != bg_label) for p in proposals]


def select_foreground_with_keypoints(
    proposals: Sequence[Instances], bg_label: int
) -> list[Instances]:
    """`select_foreground_proposals` and of them those with visible keypoints, with one wait.

    Args:
        proposals: for each image with ``gt_classes``, ``proposal_boxes`` and, if any is
            foreground, (N, K, 3) ``gt_keypoints``.
        bg_label: label of the background.

    Raises:
        ValueError: if an image with foreground has no ``gt_keypoints``.
    """
    masks = [
        foreground & _with_visible_keypoints(image) if image.has("gt_keypoints") else foreground
        for image, foreground in zip(proposals, _foreground(proposals, bg_label), strict=True)
    ]
    rows = rows_where(masks)
    selected = [image[chosen] for image, chosen in zip(proposals, rows, strict=True)]
    for image in selected:
        _require_keypoints(image)
    _report_regions(selected)
    return selected


def select_proposals_with_visible_keypoints(proposals: Sequence[Instances]) -> list[Instances]:
    """The proposals that hold at least one visible keypoint of their ground truth.

    Args:
        proposals: for each image with ``proposal_boxes`` and (N, K, 3) ``gt_keypoints``.

    Raises:
        ValueError: if an image has no ``gt_keypoints``.
    """
    for image in proposals:
        _require_keypoints(image)
    visible = [
        _with_visible_keypoints(image) if len(image) > 0 else _none(image) for image in proposals
    ]
    selected = [image[rows] for image, rows in zip(proposals, rows_where(visible), strict=True)]
    _report_regions(selected)
    return selected


def _none(image: Instances) -> Tensor:
    return torch.zeros(0, dtype=torch.bool, device=image.proposal_boxes.device)


def _with_visible_keypoints(image: Instances) -> Tensor:
    """(N,) bool: the proposals that hold a visible keypoint of their ground truth."""
    x, y, visibility = image.gt_keypoints.tensor.unbind(dim=2)
    x1, y1, x2, y2 = image.proposal_boxes.tensor[:, :, None].unbind(dim=1)
    inside = (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
    return ((visibility >= 1) & inside).any(dim=1)


def _require_keypoints(image: Instances) -> None:
    if len(image) > 0 and not image.has("gt_keypoints"):
        raise ValueError(
            "training a keypoint head needs 'gt_keypoints', but the annotations of an image "
            "give no keypoints: they have none, or the mapper leaves them out (use_keypoint). "
            "Turn the head off (MODEL.KEYPOINT_ON = False, or keypoint_in_features=None), or "
            "give annotations with keypoints"
        )


def _report_regions(selected: Sequence[Instances]) -> None:
    storage = active_event_storage()
    if storage is not None:
        storage.put_scalar(
            "keypoint_head/num_fg_samples",
            torch.tensor([float(len(image)) for image in selected]).mean(),
        )
