"""`Instances` and `supervision.Detections`."""

from typing import Any

import numpy as np
import torch

from ..boxes import Boxes
from ..instances import Instances
from ..optional_imports import import_optional
from ..rotated_boxes import RotatedBoxes
from ..rotated_corners import rotated_corners
from .fields import as_bitmaps, as_numpy, build_instances, known_fields

__all__ = ["instances_from_supervision", "instances_to_supervision"]

_CORNERS = "xyxyxyxy"  # where supervision keeps the corners of rotated boxes
_KEYPOINTS = "keypoints"  # ours: supervision keeps them in a class of their own


def instances_to_supervision(instances: Instances) -> Any:
    """Write predictions or ground truth as `supervision.Detections`.

    Args:
        instances: with the documented fields of predictions or of ground truth, boxes at least,
            and optionally ``ID`` of a tracker.

    Returns:
        Detections with ``xyxy`` and what else there is of ``class_id``, ``confidence``, ``mask``
        and ``tracker_id``. Rotated boxes leave the upright boxes around them in ``xyxy`` and
        their (N, 4, 2) corners in ``data["xyxyxyxy"]``; (N, K, 3) keypoints are in
        ``data["keypoints"]``, with continuous coordinates.

    Raises:
        ImportError: if supervision is not installed.
        ValueError: if there are no boxes.
    """
    supervision = import_optional("supervision", "supervision")
    fields = known_fields(instances)
    data: dict[str, np.ndarray] = {}
    boxes = fields.boxes
    upright = as_numpy(boxes.tensor)
    if isinstance(boxes, RotatedBoxes):
        corners = rotated_corners(as_numpy(boxes.tensor))
        data[_CORNERS] = corners
        upright = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    if fields.keypoints is not None:
        data[_KEYPOINTS] = as_numpy(fields.keypoints)
    masks = fields.masks
    return supervision.Detections(
        xyxy=upright,
        mask=None if masks is None else as_numpy(as_bitmaps(masks, instances.image_size)),
        class_id=None if fields.classes is None else as_numpy(fields.classes).astype(int),
        confidence=None if fields.scores is None else as_numpy(fields.scores),
        tracker_id=as_numpy(torch.as_tensor(instances.ID)) if instances.has("ID") else None,
        data=data,
    )


def instances_from_supervision(
    detections: Any, image_size: tuple[int, int] | None = None
) -> Instances:
    """Read `supervision.Detections`.

    Args:
        detections: those with a ``confidence`` are taken for predictions, others for ground truth.
            ``tracker_id`` becomes the field ``ID``, ``data["class_name"]`` the field
            ``class_names``.
        image_size: (height, width) in pixels; None takes the size of the masks.

    Raises:
        ValueError: if the image size is not known, or lengths differ.
    """
    masks = None if detections.mask is None else np.asarray(detections.mask)
    if image_size is None:
        if masks is None:
            raise ValueError("detections without masks do not tell their image_size: give it")
        image_size = (masks.shape[1], masks.shape[2])
    corners = detections.data.get(_CORNERS)
    instances = build_instances(
        image_size,
        predicted=detections.confidence is not None,
        boxes=Boxes(np.asarray(detections.xyxy)) if corners is None else _from_corners(corners),
        classes=detections.class_id,
        scores=detections.confidence,
        masks=masks,
        keypoints=detections.data.get(_KEYPOINTS),
    )
    if detections.tracker_id is not None:
        instances.ID = torch.as_tensor(detections.tracker_id, dtype=torch.int64)
    if "class_name" in detections.data:
        instances.class_names = [str(name) for name in detections.data["class_name"]]
    return instances


def _from_corners(corners: Any) -> RotatedBoxes:
    """Rectangles by the directions and lengths of their first two sides."""
    points = np.asarray(corners, np.float64).reshape(-1, 4, 2)
    along, down = points[:, 1] - points[:, 0], points[:, 3] - points[:, 0]
    width, height = np.hypot(*along.T), np.hypot(*down.T)
    angle = np.degrees(np.arctan2(-along[:, 1], along[:, 0]))
    center = points.mean(axis=1)
    return RotatedBoxes(np.column_stack((center, width, height, angle)))
