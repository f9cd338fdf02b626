"""The documented fields of predictions and of ground truth, read and made."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..bit_masks import BitMasks
from ..boxes import Boxes
from ..instances import Instances
from ..keypoints import Keypoints
from ..polygon_masks import PolygonMasks
from ..rle_masks import RLEMasks
from ..rotated_boxes import RotatedBoxes

__all__ = [
    "KnownFields",
    "as_bitmaps",
    "as_numpy",
    "build_instances",
    "known_fields",
    "rotated_or_upright",
]


class KnownFields(NamedTuple):
    """What `Instances` say in the documented fields; None where a field is absent."""

    predicted: bool
    boxes: Boxes
    classes: Tensor | None
    scores: Tensor | None
    masks: Any
    keypoints: Tensor | None
    """(N, K, 3) of continuous x, y in pixels and visibility or score."""


def known_fields(instances: Instances) -> KnownFields:
    """Read predictions or ground truth.

    Raises:
        ValueError: if there are neither ``pred_boxes`` nor ``gt_boxes``, or both.
        TypeError: if a field is of another kind than documented.
    """
    found = [name for name in ("pred_boxes", "gt_boxes") if instances.has(name)]
    if len(found) != 1:
        raise ValueError(
            "these Instances need either pred_boxes or gt_boxes; they have the fields "
            f"{sorted(instances.get_fields())}"
        )
    predicted = found[0] == "pred_boxes"
    prefix = "pred" if predicted else "gt"

    def field(name: str) -> Any:
        return instances.get(name) if instances.has(name) else None

    boxes = field(found[0])
    if not isinstance(boxes, Boxes):
        raise TypeError(f"{found[0]} must be Boxes or RotatedBoxes, got {type(boxes).__name__}")
    keypoints = field(f"{prefix}_keypoints")
    return KnownFields(
        predicted=predicted,
        boxes=boxes,
        classes=_vector(field(f"{prefix}_classes"), f"{prefix}_classes"),
        scores=_vector(field("scores"), "scores"),
        masks=field(f"{prefix}_masks"),
        keypoints=None if keypoints is None else _triples(keypoints, f"{prefix}_keypoints"),
    )


def build_instances(
    image_size: tuple[int, int],
    *,
    predicted: bool,
    boxes: Boxes,
    classes: Any = None,
    scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
) -> Instances:
    """Make predictions or ground truth; what is None becomes no field.

    Args:
        image_size: (height, width) in pixels.
        predicted: whether these are predictions.
        boxes: N boxes.
        classes: N integers.
        scores: N numbers.
        masks: `PolygonMasks`, `RLEMasks`, `BitMasks` or (N, H, W) bool.
        keypoints: (N, K, 3) of continuous x, y in pixels and visibility or score.

    Raises:
        ValueError: if the lengths or the sizes of masks and image differ.
    """
    prefix = "pred" if predicted else "gt"
    instances = Instances(image_size)
    instances.set(f"{prefix}_boxes", boxes)
    if classes is not None:
        instances.set(f"{prefix}_classes", torch.as_tensor(classes, dtype=torch.int64))
    if scores is not None:
        instances.scores = torch.as_tensor(scores, dtype=torch.float32)
    if masks is not None:
        if not isinstance(masks, PolygonMasks):
            masks = masks if isinstance(masks, (BitMasks, RLEMasks)) else BitMasks(masks)
            check_size_of_masks(masks, image_size)
        plain = predicted and isinstance(masks, BitMasks)
        instances.set(f"{prefix}_masks", masks.tensor if plain else masks)
    if keypoints is not None:
        points = Keypoints(keypoints)
        instances.set(f"{prefix}_keypoints", points.tensor if predicted else points)
    return instances


def as_bitmaps(masks: Any, image_size: tuple[int, int]) -> Tensor:
    """Masks of any kind as (N, H, W) bool.

    Raises:
        TypeError: for masks of an unknown kind.
        ValueError: if they are not of the image's size.
    """
    if isinstance(masks, PolygonMasks):
        return BitMasks.from_polygon_masks(masks, *image_size).tensor
    if isinstance(masks, RLEMasks):
        masks = masks.to_bitmasks()
    bitmaps = masks if isinstance(masks, BitMasks) else BitMasks(masks)
    check_size_of_masks(bitmaps, image_size)
    return bitmaps.tensor


def check_size_of_masks(masks: BitMasks | RLEMasks, image_size: tuple[int, int]) -> None:
    """Refuse masks that are not of the image's size.

    Raises:
        ValueError: with both sizes.
    """
    if masks.image_size != tuple(image_size):
        raise ValueError(f"masks of {masks.image_size} do not fit an image of {tuple(image_size)}")


def as_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor in CPU memory."""
    return tensor.detach().cpu().numpy()


def rotated_or_upright(boxes: Any) -> Boxes:
    """(N, 5) numbers as `RotatedBoxes`, others as `Boxes`."""
    shape = np.shape(boxes)
    return RotatedBoxes(boxes) if len(shape) == 2 and shape[1] == 5 else Boxes(boxes)


def _vector(value: Any, name: str) -> Tensor | None:
    if value is None:
        return None
    tensor = torch.as_tensor(value)
    if tensor.dim() != 1:
        raise ValueError(f"{name} must have shape (N,), got {list(tensor.shape)}")
    return tensor


def _triples(value: Any, name: str) -> Tensor:
    tensor = value.tensor if isinstance(value, Keypoints) else torch.as_tensor(value)
    if tensor.dim() != 3 or tensor.shape[2] != 3:
        raise ValueError(f"{name} must have shape (N, K, 3), got {list(tensor.shape)}")
    return tensor
