"""The losses of dense detectors."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..losses import sigmoid_focal_loss, summed_where

# A logit of probability 0, in float16 too.
_SURELY_NOT = -1e4


def foreground_of(labels: Tensor, num_classes: int) -> Tensor:
    """Bool, of the labels' shape: neither background (``num_classes``) nor ignored (-1)."""
    return (labels >= 0) & (labels != num_classes)


def dense_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Summed focal loss of all anchors that are not ignored.

    Args:
        logits: (N, R, K) for R anchors of N images and K classes.
        labels: (N, R) classes: K for background, -1 for ignored.
        alpha: see `d2_ops.sigmoid_focal_loss`.
        gamma: see `d2_ops.sigmoid_focal_loss`.

    Returns:
        Scalar; 0 that can be backpropagated if all anchors are ignored.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """
    num_classes = logits.shape[2]

    def loss(rows: Tensor, known: Tensor, *, reduction: Literal["none", "sum"]) -> Tensor:
        # In the logits' own type, and not as the int64 of F.one_hot, several times as large.
        targets = rows.new_zeros(len(known), num_classes + 1)
        targets = targets.scatter_(1, known[:, None], 1.0)[:, :-1]
        return sigmoid_focal_loss(rows, targets, alpha=alpha, gamma=gamma, reduction=reduction)

    # Background of which nobody could be surer adds nothing.
    instead = (_SURELY_NOT, num_classes)
    known, rows = labels.flatten(), logits.flatten(0, 1)
    return summed_where(known >= 0, loss, rows, known, instead=instead)
