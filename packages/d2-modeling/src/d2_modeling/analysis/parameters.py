"""How many parameters a model and its parts have."""

from __future__ import annotations

from collections import defaultdict

from torch import nn


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """The number of parameters of a model and its parts.

    Returns:
        By name of a parameter or of a module; under ``""`` that of the whole model.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        for depth in range(len(parts) + 1):
            counts[".".join(parts[:depth])] += parameter.numel()
    return counts
