"""The focal loss of dense classifiers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ._arguments import check_device, check_floating, describe
from ._library import operators, qualified
from ._reduction import Reduction, check_reduction

_ops = operators()


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = -1,
    gamma: float = 2,
    reduction: Reduction = "none",
) -> Tensor:
    """Binary cross entropy that counts less where the prediction is right already.

    One pass over the logits, and one more for the gradient; sums write nothing else to memory.
    The result does not depend on the number of threads. Half precision is computed in float32,
    and autocast changes nothing.

    Args:
        inputs: floating logits of any shape.
        targets: floating, the same shape: 0 for the negative class, 1 for the positive one, or
            in between. They get no gradient.
        alpha: weight of positives, from 0 to 1, against 1 - alpha of negatives. Negative: neither
            is weighted.
        gamma: exponent of (1 - p_t), >= 0. 2 is faster than others.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``. The mean of nothing is 0.

    Returns:
        Losses in the shape of ``inputs``, or one number; float32, or float64 for float64.
        Differentiable once in ``inputs``.

    Raises:
        TypeError: if an argument is not a floating tensor.
        ValueError: if shapes or devices disagree, targets require a gradient, or alpha, gamma or
            the reduction is not one of those described.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """
    check_floating("inputs", inputs)
    check_floating("targets", targets)
    if inputs.shape != targets.shape:
        raise ValueError(
            f"targets must have the shape of inputs, {tuple(inputs.shape)}, got {describe(targets)}"
        )
    check_device("targets", targets, "inputs", inputs)
    check_reduction(reduction)
    if targets.requires_grad:
        raise ValueError("targets get no gradient: pass targets.detach()")
    if not alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, or negative for no weights, got {alpha}")
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma must not be negative, got {gamma}")
    operator = _ops.sigmoid_focal_loss if reduction == "none" else _ops.sigmoid_focal_loss_sum
    loss: Tensor = operator(inputs, targets, float(alpha), float(gamma))
    return loss / max(inputs.numel(), 1) if reduction == "mean" else loss


def _loss_type(inputs: Tensor) -> torch.dtype:
    return torch.float64 if inputs.dtype == torch.float64 else torch.float32


@torch.library.register_fake(qualified("sigmoid_focal_loss"))
def _(inputs: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    return inputs.new_empty(inputs.shape, dtype=_loss_type(inputs))


@torch.library.register_fake(qualified("sigmoid_focal_loss_sum"))
def _(inputs: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    return inputs.new_empty((), dtype=_loss_type(inputs))


@torch.library.register_fake(qualified("sigmoid_focal_loss_backward"))
def _(grad: Tensor, inputs: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    return inputs.new_empty(inputs.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    logits, targets, *ctx.settings = inputs
    ctx.save_for_backward(logits, targets)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _ops.sigmoid_focal_loss_backward(grad, *ctx.saved_tensors, *ctx.settings), *[None] * 3


for _name in ("sigmoid_focal_loss", "sigmoid_focal_loss_sum"):
    torch.library.register_autograd(qualified(_name), _backward, setup_context=_save_for_backward)
