"""The focal loss against its formula in float64."""

import torch
from torch import Tensor

from d2_modeling.dense import dense_focal_loss


def formula(inputs: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    p = inputs.double().sigmoid()
    right = torch.where(targets > 0, p, 1 - p)
    weight = torch.where(targets > 0, alpha, 1 - alpha) if alpha >= 0 else 1.0
    return -weight * (1 - right) ** gamma * right.log()


def test_ignored_anchors_do_not_count_and_background_is_no_class() -> None:
    logits = torch.randn(1, 3, 2)
    labels = torch.tensor([[1, 2, -1]])  # class 1, background, ignored
    targets = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    wanted = formula(logits[0, :2], targets, 0.25, 2.0).sum().float()
    torch.testing.assert_close(dense_focal_loss(logits, labels, alpha=0.25, gamma=2.0), wanted)
    assert dense_focal_loss(logits, labels * 0 - 1, alpha=0.25, gamma=2.0) == 0
