"""Boxes, keypoints and label maps from whatever holds them to NumPy arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["as_array", "read_boxes", "read_keypoints", "read_label_map"]


def as_array(data: Any) -> NDArray[Any]:
    """The numbers of a structure with ``.tensor``, a tensor on any device, an array or lists."""
    data = getattr(data, "tensor", data)
    if isinstance(data, torch.Tensor):
        return data.detach().cpu().numpy()
    return np.asarray(data)


def read_boxes(boxes: Any) -> NDArray[np.float64]:
    """(N, 4) corner boxes or (N, 5) rotated boxes, pixels, as float64.

    Raises:
        ValueError: for another shape, or NaN or infinite values.
    """
    array = as_array(boxes).astype(np.float64)
    if array.size == 0:
        array = array.reshape(0, array.shape[1] if array.ndim == 2 and array.shape[1] == 5 else 4)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(f"boxes must have shape (N, 4) or (N, 5), got {array.shape}")
    return _finite(array, "boxes")


def read_keypoints(keypoints: Any) -> NDArray[np.float64]:
    """(N, K, 3) of x, y in pixels and visibility or score, as float64.

    Raises:
        ValueError: for another shape, or NaN or infinite values.
    """
    array = as_array(keypoints).astype(np.float64)
    if array.size == 0 and array.ndim < 3:
        array = array.reshape(0, 0, 3)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"keypoints must have shape (N, K, 3), got {array.shape}")
    return _finite(array, "keypoints")


def read_label_map(label_map: Any, name: str, height: int, width: int) -> NDArray[np.int64]:
    """An (H, W) integer map of the image's size.

    Raises:
        TypeError: if it does not hold integers.
        ValueError: if its shape is not (``height``, ``width``).
    """
    array = as_array(label_map)
    if array.dtype.kind not in "bui":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    if array.shape != (height, width):
        raise ValueError(f"{name} must have shape ({height}, {width}), got {array.shape}")
    return array.astype(np.int64)


def _finite(array: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold NaN or infinite values")
    return array
