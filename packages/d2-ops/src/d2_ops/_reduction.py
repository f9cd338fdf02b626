"""How losses are put together."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

Reduction = Literal["none", "mean", "sum"]


def check_reduction(reduction: str) -> None:
    """Raise ValueError unless this is a `Reduction`."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def reduced(loss: Tensor, reduction: Reduction) -> Tensor:
    """The losses, their mean (0 of nothing), or their sum."""
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / max(loss.numel(), 1)
