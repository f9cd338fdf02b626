"""The focal loss against its formula in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.dense import dense_focal_loss
from d2_modeling.dense.losses import foreground_of


def formula(logit: float, positive: bool, alpha: float, gamma: float) -> float:
    """The loss of one anchor and one class."""
    p = 1.0 / (1.0 + math.exp(-logit))
    right = p if positive else 1.0 - p
    weight = (alpha if positive else 1.0 - alpha) if alpha >= 0 else 1.0
    return -weight * (1.0 - right) ** gamma * math.log(right)


def summed(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> float:
    """The loss of all anchors, one after another."""
    total = 0.0
    for image, image_labels in zip(logits.tolist(), labels.tolist(), strict=True):
        for anchor, label in zip(image, image_labels, strict=True):
            if label >= 0:
                total += sum(
                    formula(logit, kind == label, alpha, gamma) for kind, logit in enumerate(anchor)
                )
    return total


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.sampled_from([-1.0, 0.25, 0.6]),
    st.sampled_from([0.0, 1.0, 2.0, 2.5]),
)
def test_it_is_the_sum_over_anchors_and_classes(
    images: int, anchors: int, classes: int, seed: int, alpha: float, gamma: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, anchors, classes, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(-1, classes + 1, (images, anchors), generator=generator)
    loss = dense_focal_loss(logits, labels, alpha=alpha, gamma=gamma)
    assert loss.item() == pytest.approx(summed(logits, labels, alpha, gamma), rel=1e-9, abs=1e-12)


def test_ignored_anchors_do_not_count_and_background_is_no_class() -> None:
    logits = torch.randn(1, 3, 2, dtype=torch.float64)
    labels = torch.tensor([[1, 2, -1]])  # class 1, background, ignored
    wanted = sum(formula(x, k == 1, 0.25, 2.0) for k, x in enumerate(logits[0, 0].tolist()))
    wanted += sum(formula(x, False, 0.25, 2.0) for x in logits[0, 1].tolist())
    loss = dense_focal_loss(logits, labels, alpha=0.25, gamma=2.0)
    assert loss.item() == pytest.approx(wanted)
    assert dense_focal_loss(logits, labels * 0 - 1, alpha=0.25, gamma=2.0) == 0


def test_its_gradient_is_that_of_the_formula_and_none_for_ignored_anchors() -> None:
    logits = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 3, -1, 2], [3, 3, 1, -1]])
    assert torch.autograd.gradcheck(
        lambda x: dense_focal_loss(x, labels, alpha=0.25, gamma=2.0), (logits,)
    )
    dense_focal_loss(logits, labels, alpha=0.25, gamma=2.0).backward()
    assert logits.grad is not None
    assert (logits.grad[labels < 0] == 0).all()
    assert (logits.grad[labels >= 0] != 0).all()


def test_nothing_to_count_is_a_zero_that_can_be_backpropagated() -> None:
    for shape in ((1, 0, 3), (0, 5, 3), (2, 5, 3)):
        logits = torch.randn(shape, requires_grad=True)
        labels = torch.full(shape[:2], -1)
        loss = dense_focal_loss(logits, labels, alpha=0.25, gamma=2.0)
        loss.backward()
        assert loss == 0
        assert logits.grad is not None
        assert not logits.grad.any()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_logits_far_from_zero_give_finite_losses_and_gradients(sign: float) -> None:
    logits = torch.full((1, 2, 3), sign * 1e4, requires_grad=True)
    loss = dense_focal_loss(logits, torch.tensor([[0, 3]]), alpha=0.25, gamma=2.0)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_foreground_is_neither_background_nor_ignored() -> None:
    labels = torch.tensor([[0, 4, -1], [3, 4, 4]])
    wanted = [[True, False, False], [True, False, False]]
    assert foreground_of(labels, 4).tolist() == wanted
