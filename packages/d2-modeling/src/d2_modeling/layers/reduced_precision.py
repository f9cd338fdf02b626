"""Heavy layers of a model that compute in bfloat16, between tensors that stay float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ReducedForward:
    """What a module's ``forward`` is in evaluation: the same in fewer bits.

    Weights stay as they are, and so do inputs and outputs; in training nothing changes.

    Args:
        module: whose ``forward`` it is.
        dtype: what ``torch.autocast`` computes in.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.module, self.dtype = module, dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = type(self.module).forward
        if self.module.training:
            return forward(self.module, *args, **kwargs)
        first = next(self.module.parameters(), None)
        device = "cpu" if first is None else first.device.type
        with torch.autocast(device, self.dtype):
            outputs = forward(self.module, *args, **kwargs)
        return _in_float32(outputs)


def reduce_precision(model: nn.Module, dtype: torch.dtype) -> int:
    """Let the heavy layers of a model compute in a type of fewer bits in evaluation, in place.

    These are ``model.backbone``, and of the rest the convolutions that are not the last of their
    row: ones with an activation, and those of lists of layers. What scores and boxes are read from
    stays as it is.

    Returns:
        How many modules there are.
    """
    restore_precision(model)
    heavy = _heavy_modules(model)
    for module in heavy:
        module.forward = ReducedForward(module, dtype)
    return len(heavy)


def restore_precision(model: nn.Module) -> None:
    """Undo `reduce_precision`."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), ReducedForward):
            del module.__dict__["forward"]


def _heavy_modules(model: nn.Module) -> list[nn.Module]:
    backbone = getattr(model, "backbone", None)
    heavy = [backbone] if isinstance(backbone, nn.Module) else []
    within = {layer for module in heavy for layer in module.modules()}
    rows = (nn.Sequential, nn.ModuleList)
    heavy += [
        layer
        for parent in model.modules()
        for layer in parent.children()
        if isinstance(layer, nn.Conv2d)
        and layer not in within
        and (getattr(layer, "activation", None) is not None or isinstance(parent, rows))
        and "forward" not in layer.__dict__
    ]
    return list(dict.fromkeys(heavy))


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, dict):
        return {name: _in_float32(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return type(outputs)(_in_float32(value) for value in outputs)
    return outputs
