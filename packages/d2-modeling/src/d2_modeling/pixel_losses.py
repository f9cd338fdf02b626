"""Losses of pixels and points that have one of several labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["mean_cross_entropy"]


def mean_cross_entropy(logits: Tensor, labels: Tensor, ignore_value: int) -> Tensor:
    """Cross entropy, averaged over the pixels or points that count; 0 if there is none.

    Args:
        logits: (N, K, ...) floating point.
        labels: (N, ...) int64.
        ignore_value: label of what does not count.
    """
    summed = F.cross_entropy(logits, labels, reduction="sum", ignore_index=ignore_value)
    return summed / (labels != ignore_value).sum().clamp(min=1)
