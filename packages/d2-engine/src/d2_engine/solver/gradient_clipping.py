"""Gradient clipping that belongs to an optimizer, so that no training loop has to know it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer


def add_gradient_clipping(
    optimizer: Optimizer, clip_type: str, clip_value: float, norm_type: float = 2.0
) -> Optimizer:
    """Clip gradients at the beginning of every ``optimizer.step()``.

    The limit is meant for unscaled gradients. :class:`AMPTrainer` sees to that; a loop of one's
    own with a gradient scaler has to call ``scaler.unscale_(optimizer)`` before the step, because
    fused optimizers unscale behind this.

    Args:
        optimizer: changed in place.
        clip_type: ``"value"`` limits the absolute value of every element, ``"norm"`` the norm
            of each parameter's gradient, ``"full_model"`` the norm of all gradients together.
        clip_value: the limit.
        norm_type: p of the norm.

    Returns:
        The same optimizer.
    """
    if clip_type not in ("value", "norm", "full_model"):
        raise ValueError(f"clip_type is 'value', 'norm' or 'full_model', got {clip_type!r}")

    def clip(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if clip_type == "value":
            torch.nn.utils.clip_grad_value_(parameters, clip_value)
        elif clip_type == "full_model":
            torch.nn.utils.clip_grad_norm_(parameters, clip_value, norm_type)
        else:
            _clip_each_norm(parameters, clip_value, norm_type)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def _clip_each_norm(
    parameters: Iterable[torch.nn.Parameter], clip_value: float, norm_type: float
) -> None:
    for parameter in parameters:
        torch.nn.utils.clip_grad_norm_(parameter, clip_value, norm_type)
