"""Box regression losses, and the factors on losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from d2_ops import ciou_loss, diou_loss, giou_loss, sigmoid_focal_loss, smooth_l1_loss

__all__ = [
    "ciou_loss",
    "diou_loss",
    "giou_loss",
    "loss_weights",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
]


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
