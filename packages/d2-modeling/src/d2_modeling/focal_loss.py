"""The focal loss of dense classifiers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from d2_ops import sigmoid_focal_loss


def dense_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Summed focal loss of all anchors that are not ignored.

    Args:
        logits: (N, R, K) for R anchors of N images and K classes.
        labels: (N, R) classes: K for background, -1 for ignored.
        alpha: see `d2_ops.sigmoid_focal_loss`.
        gamma: see `d2_ops.sigmoid_focal_loss`.
    """
    valid = labels >= 0
    targets = F.one_hot(labels[valid], logits.shape[2] + 1)[:, :-1].to(logits.dtype)
    return sigmoid_focal_loss(logits[valid], targets, alpha=alpha, gamma=gamma, reduction="sum")
