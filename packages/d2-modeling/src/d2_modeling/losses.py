"""Losses that several detectors share, and the factors on losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from d2_ops import ciou_loss, diou_loss, giou_loss, sigmoid_focal_loss, smooth_l1_loss

from .host_waits import asking_waits

__all__ = [
    "ciou_loss",
    "diou_loss",
    "giou_loss",
    "loss_weights",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "summed_where",
]


def summed_where(
    counted: Tensor,
    loss: Callable[..., Tensor],
    *rows: Tensor,
    instead: Sequence[float] | None = None,
) -> Tensor:
    """The sum of a loss over the rows that count; the host waits for no device.

    Where it would, the loss of all rows is computed, and that of those that do not count left out.

    Args:
        counted: (...) bool.
        loss: called with some rows of each and ``reduction="sum"``, or ``"none"``, which begins
            with one dimension for the rows.
        *rows: (..., *) each. Those that do not count may hold anything; they get no gradient.
        instead: a number for each of these, of which the loss is 0. It saves memory to say so.
    """
    if not asking_waits(counted):
        chosen = counted.nonzero(as_tuple=True)
        return loss(*(each[chosen] for each in rows), reduction="sum")
    mask, every = counted.flatten(), [each.flatten(0, counted.dim() - 1) for each in rows]
    if instead is not None:
        filled = zip(every, instead, strict=True)
        return loss(*(_where(mask, each, value) for each, value in filled), reduction="sum")
    # What would be infinite or NaN would be so in gradients too.
    every = [_where(mask, each, each.detach()) if each.requires_grad else each for each in every]
    return _where(mask, loss(*every, reduction="none"), 0.0).sum()


def _where(mask: Tensor, rows: Tensor, otherwise: Tensor | float) -> Tensor:
    return rows.where(mask.view(-1, *[1] * (rows.dim() - 1)), otherwise)


def loss_weights(weight: float | Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """One factor per loss, out of one for all or a mapping by name.

    Raises:
        ValueError: if the mapping names a loss that does not exist.
    """
    if not isinstance(weight, Mapping):
        return dict.fromkeys(names, float(weight))
    unknown = set(weight) - set(names)
    if unknown:
        raise ValueError(f"loss_weight names {sorted(unknown)}; the losses are {list(names)}")
    return {str(name): float(value) for name, value in weight.items()}
