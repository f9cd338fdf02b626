"""`Instances` and the targets that `torchvision.transforms.v2` transforms.

A target is a dict: ``boxes`` (`BoundingBoxes`), ``labels`` (int64), ``masks`` (`Mask`, (N, H, W)),
``keypoints`` (`KeyPoints`, (N, K, 2)) with ``visibility`` (N, K), and ``scores`` of predictions.
torchvision takes keypoints for pixel indices when it flips them, so they are moved by half a
pixel; its boxes are continuous and its rotated boxes turn counter-clockwise, as ours.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..boxes import Boxes
from ..instances import Instances
from ..optional_imports import import_optional
from ..rotated_boxes import RotatedBoxes
from .fields import as_bitmaps, build_instances, known_fields

__all__ = ["instances_from_tv_tensors", "instances_to_tv_tensors"]

_EXTRA = "torchvision"


def instances_to_tv_tensors(instances: Instances) -> dict[str, Any]:
    """Write predictions or ground truth as a torchvision target.

    Args:
        instances: with the documented fields of predictions or of ground truth, boxes at least.

    Returns:
        ``boxes`` in the format XYXY, or CXCYWHR where they are rotated, and what else there is.
        Labels are the classes as they are. The tensors share memory with the fields where they
        can.

    Raises:
        ImportError: if torchvision is not installed.
        ValueError: if a field is missing, or the installed torchvision knows no rotated boxes or
            no keypoints (before 0.23).
    """
    tv_tensors = import_optional("torchvision.tv_tensors", _EXTRA)
    fields = known_fields(instances)
    size = instances.image_size
    rotated = isinstance(fields.boxes, RotatedBoxes)
    if rotated:
        _require(tv_tensors.BoundingBoxFormat, "CXCYWHR", "rotated boxes")
    box_format = "CXCYWHR" if rotated else "XYXY"
    target: dict[str, Any] = {
        "boxes": tv_tensors.BoundingBoxes(fields.boxes.tensor, format=box_format, canvas_size=size)
    }
    if fields.classes is not None:
        target["labels"] = fields.classes.to(torch.int64)
    if fields.scores is not None:
        target["scores"] = fields.scores
    if fields.masks is not None:
        target["masks"] = tv_tensors.Mask(as_bitmaps(fields.masks, size))
    if fields.keypoints is not None:
        _require(tv_tensors, "KeyPoints", "keypoints")
        points = fields.keypoints[:, :, :2] - 0.5
        target["keypoints"] = tv_tensors.KeyPoints(points, canvas_size=size)
        target["visibility"] = fields.keypoints[:, :, 2]
    return target


def instances_from_tv_tensors(
    target: Mapping[str, Any], image_size: tuple[int, int] | None = None
) -> Instances:
    """Read a torchvision target.

    Args:
        target: with ``boxes`` in any format of `BoundingBoxes`; see `instances_to_tv_tensors` for
            what else. With ``scores`` they are taken for predictions. Keypoints without
            ``visibility`` are taken for visible. Plain tensors are taken for what the tv_tensor of
            that name would hold, boxes for XYXY.
        image_size: (height, width) in pixels; None takes the canvas of boxes or keypoints.

    Raises:
        ImportError: if torchvision is not installed.
        ValueError: if there are no boxes, the image size is not known, or lengths differ.
    """
    import_optional("torchvision.tv_tensors", _EXTRA)
    if "boxes" not in target:
        raise ValueError(f"a torchvision target needs 'boxes', this one has {sorted(target)}")
    if image_size is None:
        image_size = _canvas_size(target)
    keypoints = target.get("keypoints")
    if keypoints is not None:
        points = _plain(keypoints).to(torch.float32) + 0.5
        seen = target.get("visibility")
        seen = torch.full(points.shape[:-1], 2.0) if seen is None else torch.as_tensor(seen)
        keypoints = torch.cat((points, seen.to(points)[..., None]), dim=-1)
    masks = target.get("masks")
    return build_instances(
        image_size,
        predicted="scores" in target,
        boxes=_read_boxes(target["boxes"]),
        classes=target.get("labels"),
        scores=target.get("scores"),
        masks=None if masks is None else _plain(masks),
        keypoints=keypoints,
    )


def _read_boxes(boxes: Any) -> Boxes:
    box_format = getattr(boxes, "format", None)
    if box_format is None:
        return Boxes(torch.as_tensor(boxes))
    rotated = box_format.name in ("XYWHR", "CXCYWHR", "XYXYXYXY")
    functional = import_optional("torchvision.transforms.v2.functional", _EXTRA)
    wanted = type(box_format)["CXCYWHR" if rotated else "XYXY"]
    numbers = boxes if boxes.is_floating_point() else functional.to_dtype(boxes, torch.float32)
    converted = _plain(functional.convert_bounding_box_format(numbers, new_format=wanted))
    return RotatedBoxes(converted) if rotated else Boxes(converted)


def _canvas_size(target: Mapping[str, Any]) -> tuple[int, int]:
    for name in ("boxes", "keypoints"):
        size = getattr(target.get(name), "canvas_size", None)
        if size is not None:
            return (int(size[0]), int(size[1]))
    raise ValueError("neither 'boxes' nor 'keypoints' has a canvas_size: give image_size")


def _plain(tensor: Any) -> Tensor:
    """Without torchvision's type, so that later operations give ordinary tensors."""
    return torch.as_tensor(tensor).as_subclass(Tensor)


def _require(holder: Any, name: str, what: str) -> None:
    if not hasattr(holder, name):
        raise ValueError(f"this torchvision knows no {what}: install 0.23 or later")
