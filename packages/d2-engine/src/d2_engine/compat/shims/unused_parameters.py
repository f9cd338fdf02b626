"""Which parameters a loss does not reach."""

from typing import Any

from torch import Tensor, nn


def find_unused_parameters(model: nn.Module, inputs: Any) -> list[str]:
    """Run a model in training and return the parameters that get no gradient.

    Args:
        model: returns one loss or a dict of losses.
        inputs: what it is called with.
    """
    if not model.training:
        raise ValueError("find_unused_parameters wants a model in training mode")
    for parameter in model.parameters():
        parameter.grad = None
    losses = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    total = losses if isinstance(losses, Tensor) else sum(losses.values())
    total.backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    for parameter in model.parameters():
        parameter.grad = None
    return unused
