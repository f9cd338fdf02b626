"""Where the host has to wait for values, and what is done to wait less.

On the CPU values are there at once: what depends on them is as long as they say. On other devices
the host would have to stop and ask, and rows that do not count are carried along instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def numbers_on(device: torch.device, values: Sequence[float], dtype: torch.dtype) -> Tensor:
    """(V,) numbers from the host, which does not wait until they have arrived."""
    return torch.tensor(list(values), dtype=dtype).to(device, non_blocking=True)


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


_facts: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def remember(tensor: Tensor, fact: Any) -> None:
    """Note what the host has learnt of a tensor, as long as nobody writes to it.

    Of boxes True says that `sides_remain` is true of all, of scores a list that they are those, of
    classes the background and a number that so many come first that are foreground.
    """
    if not is_recording():
        _facts[tensor] = _version_of(tensor), fact


def remembered(tensor: Tensor) -> Any:
    """What `remember` was called with for this tensor, if it is as it was then; else None."""
    if is_recording():
        return None
    version, fact = _facts.get(tensor, (None, None))
    return fact if version == _version_of(tensor) else None


def _version_of(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
