"""Losses that several detectors share, and the factors on losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
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
    "summed_binary_cross_entropy",
]


def summed_binary_cross_entropy(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """The sum of the binary cross-entropy over what counts; the host waits for no device.

    Args:
        logits: (...) floating point.
        targets: (...) probabilities, or labels 0 and 1; of what does not count any finite number.
        counted: (...) bool.
    """
    targets = targets.to(logits.dtype)
    if asking_waits(logits):
        each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return each.where(counted, 0.0).sum()
    return F.binary_cross_entropy_with_logits(logits[counted], targets[counted], reduction="sum")


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
