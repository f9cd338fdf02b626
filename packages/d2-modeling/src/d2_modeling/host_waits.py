"""Where the host has to wait for values, and what is done to wait less.

On the CPU values are there at once: what depends on them is as long as they say. On other devices
the host would have to stop and ask, and rows that do not count are carried along instead.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

# Of boxes whose sides are longer than this share of their image's, rounding makes none empty.
_LEAST_SHARE = 1e-5


def is_recording() -> bool:
    """Whether a graph is being recorded, in which sizes may depend on values."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def asking_waits(tensor: Tensor) -> bool:
    """Whether the host would wait for the values of a tensor, and sizes better stay fixed."""
    return not _is_read_at_once(tensor.device) and not is_recording()


def _is_read_at_once(device: torch.device) -> bool:
    return device.type == "cpu"


def sides_remain(boxes: Tensor, sizes: Tensor) -> Tensor:
    """(P,) bool: boxes that are finite and keep an area in their image, however it is scaled.

    Args:
        boxes: (P, 4) XYXY float32 or float64; of others nothing is promised.
        sizes: (P, 2), height and width of the image of each.
    """
    if boxes.shape[1] != 4 or boxes.dtype not in (torch.float32, torch.float64):
        return boxes.new_zeros(boxes.shape[0], dtype=torch.bool)
    limits = sizes.flip(1).to(boxes.dtype)
    low, high = (torch.minimum(corner.clamp(min=0), limits) for corner in boxes.split(2, dim=1))
    return ((high - low) > _LEAST_SHARE * limits).all(dim=1) & torch.isfinite(boxes).all(dim=1)


_lasting: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def remember_lasting(boxes: Tensor) -> None:
    """Note that `sides_remain` is true of all these boxes, as long as nobody writes to them."""
    _lasting[boxes] = _version_of(boxes)


def known_lasting(boxes: Tensor) -> bool:
    """Whether `remember_lasting` was called with this tensor, which is as it was then."""
    return boxes in _lasting and _lasting[boxes] == _version_of(boxes)


def _version_of(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
