"""Small tensor functions that differ from torch's in a documented way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """``torch.cat`` that returns a single tensor as it is, without a copy."""
    if len(tensors) == 1:
        return tensors[0]
    return torch.cat(list(tensors), dim)


def nonzero_tuple(x: Tensor) -> list[Tensor]:
    """Indices of the non-zero elements, one int64 tensor per dimension.

    A scalar counts as a vector of one element.

    Returns:
        A tuple; in TorchScript, which has no tuples of any length, a list.
    """
    if x.dim() == 0:
        x = x.unsqueeze(0)
    # TorchScript can only be told of the list, and bears no reasons behind what mypy ignores.
    if torch.jit.is_scripting():
        return x.nonzero().unbind(1)  # type: ignore[return-value]
    return x.nonzero(as_tuple=True)  # type: ignore[return-value]


def cross_entropy(
    input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any
) -> Tensor:
    """``torch.nn.functional.cross_entropy`` whose mean over nothing is 0 instead of NaN.

    The zero depends on ``input``, so that backward works.
    """
    if target.numel() == 0 and reduction == "mean":
        return input.sum() * 0.0
    return F.cross_entropy(input, target, reduction=reduction, **kwargs)
