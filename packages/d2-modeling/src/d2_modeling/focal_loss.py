"""The focal loss of dense classifiers."""

from __future__ import annotations

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
    known = labels[valid]
    # In the logits' own type, and not as the int64 of F.one_hot, which are several times as large.
    targets = logits.new_zeros(len(known), logits.shape[2] + 1)
    targets = targets.scatter_(1, known[:, None], 1.0)[:, :-1]
    return sigmoid_focal_loss(logits[valid], targets, alpha=alpha, gamma=gamma, reduction="sum")
