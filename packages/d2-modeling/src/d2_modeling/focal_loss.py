"""The focal loss on independent binary classifiers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import Reduction


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = -1,
    gamma: float = 2,
    reduction: Reduction = "none",
) -> Tensor:
    """Binary cross entropy that counts little where the classifier is right already.

    Args:
        inputs: logits of any shape.
        targets: the same shape, 0 or 1.
        alpha: weight of positives, 1 - alpha of negatives; negative for no weights.
        gamma: power of the factor 1 - p, where p is the probability of the right answer.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 5.
    """
    # With the sign of the wrong answer, one formula serves both targets:
    # cross entropy is softplus(wrong), and the wrong answer's probability sigmoid(wrong).
    wrong = torch.where(targets > 0.5, -inputs, inputs)
    loss = F.softplus(wrong) * wrong.sigmoid() ** gamma
    if alpha >= 0:
        loss = loss * torch.where(targets > 0.5, alpha, 1 - alpha)
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def dense_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Summed focal loss of all anchors that are not ignored.

    Args:
        logits: (N, R, K) for R anchors of N images and K classes.
        labels: (N, R) classes: K for background, -1 for ignored.
        alpha: see `sigmoid_focal_loss`.
        gamma: see `sigmoid_focal_loss`.
    """
    valid = labels >= 0
    targets = F.one_hot(labels[valid], logits.shape[2] + 1)[:, :-1].to(logits.dtype)
    return sigmoid_focal_loss(logits[valid], targets, alpha=alpha, gamma=gamma, reduction="sum")
