"""The losses of dense detectors."""

from __future__ import annotations

from torch import Tensor

from ..host_waits import asking_waits
from ..losses import sigmoid_focal_loss

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
    known, rows = labels.flatten(), logits.flatten(0, 1)
    if asking_waits(logits):
        # Background of which nobody could be surer adds nothing.
        ignored = known < 0
        known = known.masked_fill(ignored, logits.shape[2])
        rows = rows.masked_fill(ignored[:, None], _SURELY_NOT)
    else:
        valid = (known >= 0).nonzero()[:, 0]
        known, rows = known[valid], rows[valid]
    # In the logits' own type, and not as the int64 of F.one_hot, which are several times as large.
    targets = logits.new_zeros(len(known), logits.shape[2] + 1)
    targets = targets.scatter_(1, known[:, None], 1.0)[:, :-1]
    return sigmoid_focal_loss(rows, targets, alpha=alpha, gamma=gamma, reduction="sum")
