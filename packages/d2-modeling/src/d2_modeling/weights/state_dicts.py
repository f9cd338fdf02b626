"""What the weights of a file are, before they are given to a model."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensors_of(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return tensors for arrays, and names without the prefix of DistributedDataParallel.

    Raises:
        ValueError: if a value is neither an ordinary tensor nor an array of numbers; names it.
    """
    tensors = {name: _as_tensor(name, value) for name, value in state_dict.items()}
    prefix = "module."
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def names_of_nonfinite(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of weights that hold NaN or infinity, which make every output useless."""
    return [name for name, value in weights.items() if not _is_finite(value)]


def _is_finite(value: Tensor) -> bool:
    if not (value.is_floating_point() or value.is_complex()) or value.device.type == "meta":
        return True
    # A sum is finite only if all are; it may also overflow, which is looked into.
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(
                f"weight {name!r} must be an ordinary dense tensor, got one of layout "
                f"{value.layout} and type {value.dtype} on {value.device}"
            )
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        with suppress(TypeError):  # wider numbers than tensors hold
            return torch.from_numpy(np.array(value, value.dtype.newbyteorder("=")))
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    hint = ""
    if isinstance(value, Mapping):
        hint = f"; if {name!r} holds the weights, save them under 'model'"
    raise ValueError(f"weight {name!r} must be a tensor or an array of numbers, got {kind}{hint}")
