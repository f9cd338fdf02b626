"""`Instances` of NumPy arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..bit_masks import BitMasks
from ..instances import Instances
from ..keypoints import Keypoints
from .fields import rotated_or_upright

__all__ = ["instances_from_numpy"]


def instances_from_numpy(fields: Mapping[str, Any], image_size: tuple[int, int]) -> Instances:
    """Make Instances of arrays, the reverse of `Instances.numpy`.

    Args:
        fields: field name → array. Arrays whose name ends in ``boxes`` become `Boxes`, or
            `RotatedBoxes` where they have five columns; ``gt_masks`` becomes `BitMasks` and
            ``gt_keypoints`` `Keypoints`; other numeric arrays become tensors that share their
            memory. What is no numeric array is kept as it is.
        image_size: (height, width) of the image in pixels.

    Raises:
        ValueError: if shapes do not fit, lengths differ, or boxes are not finite.
    """
    instances = Instances(image_size)
    for name, value in fields.items():
        instances.set(name, _field_of_array(name, value))
    return instances


def _field_of_array(name: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        return value
    if name.endswith("boxes"):
        return rotated_or_upright(value)
    if name == "gt_masks":
        return BitMasks(value)
    if name == "gt_keypoints":
        return Keypoints(value)
    return torch.from_numpy(value if value.flags.writeable else value.copy())
