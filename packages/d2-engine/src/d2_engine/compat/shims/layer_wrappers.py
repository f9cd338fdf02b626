"""Functions that work around old or exported torch; on current torch they have little to do."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """Move a tensor to where another one is."""
    return src.to(dst.device)


def shapes_to_tensor(x: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Sizes as an int64 tensor, which keeps them symbolic while they are traced."""
    if any(isinstance(size, Tensor) for size in x):
        return torch.stack([torch.as_tensor(size, device=device) for size in x])
    return torch.as_tensor(x, device=device)


def empty_input_loss_func_wrapper(loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a loss of nothing be zero with a gradient, where it would be NaN."""

    def wrapped(input: Tensor, target: Any, *, reduction: str = "mean", **kwargs: Any) -> Tensor:
        if target.numel() == 0 and reduction == "mean":
            return input.sum() * 0.0
        return loss_func(input, target, reduction=reduction, **kwargs)

    return wrapped


def disable_torch_compiler(func: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a function out of what torch compiles."""
    disabled: Callable[..., Any] = torch.compiler.disable(func)
    return disabled
