"""The focal loss against its formula in float64."""

import pytest
import torch
from torch import Tensor

from d2_modeling.focal_loss import dense_focal_loss, sigmoid_focal_loss
from d2_modeling.losses import Reduction


def formula(inputs: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    p = inputs.double().sigmoid()
    right = torch.where(targets > 0, p, 1 - p)
    weight = torch.where(targets > 0, alpha, 1 - alpha) if alpha >= 0 else 1.0
    return -weight * (1 - right) ** gamma * right.log()


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (-1, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_the_loss_is_the_papers(alpha: float, gamma: float) -> None:
    inputs = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 3
    targets = (torch.rand(7, 5, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    expected = formula(inputs, targets, alpha, gamma)
    got = sigmoid_focal_loss(inputs, targets, alpha, gamma)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)
    reduced: list[tuple[Reduction, Tensor]] = [("sum", expected.sum()), ("mean", expected.mean())]
    for reduction, wanted in reduced:
        got = sigmoid_focal_loss(inputs, targets, alpha, gamma, reduction)
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-7)


def test_its_gradient_is_right_and_finite_far_out() -> None:
    inputs = torch.tensor([-2.0, -0.1, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, targets, 0.25, 2.0), inputs)
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    sigmoid_focal_loss(far, torch.tensor([1.0, 0.0]), 0.25, 2.0).sum().backward()
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()


def test_ignored_anchors_do_not_count_and_background_is_no_class() -> None:
    logits = torch.randn(1, 3, 2)
    labels = torch.tensor([[1, 2, -1]])  # class 1, background, ignored
    targets = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    wanted = formula(logits[0, :2], targets, 0.25, 2.0).sum().float()
    torch.testing.assert_close(dense_focal_loss(logits, labels, alpha=0.25, gamma=2.0), wanted)
    assert dense_focal_loss(logits, labels * 0 - 1, alpha=0.25, gamma=2.0) == 0
