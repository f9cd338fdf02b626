"""Weight initialisation of convolutions and linear layers.

A module makes all of its layers first and fills them then, in the order in which the original
does: so the same seed gives the same weights.
"""

from __future__ import annotations

from torch import nn

Weighted = nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def msra_fill(*modules: Weighted | None) -> None:
    """He-normal weights over the fan-out, zero bias; for each module that is there.

    Source: He et al., "Delving Deep into Rectifiers", 2015.
    """
    for module in modules:
        if module is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            _zero_bias(module)


def xavier_fill(*modules: Weighted) -> None:
    """Uniform weights in ±sqrt(3 / fan_in), zero bias; for each module.

    Source: Caffe2's XavierFill; Glorot & Bengio, 2010, with the fan-in alone.
    """
    for module in modules:
        nn.init.kaiming_uniform_(module.weight, a=1)
        _zero_bias(module)


def normal_fill(*modules: Weighted, std: float) -> None:
    """Normal weights around zero, zero bias; for each module."""
    for module in modules:
        nn.init.normal_(module.weight, std=std)
        _zero_bias(module)


def truncated_normal_fill(model: nn.Module) -> None:
    """Truncated normal weights of deviation 0.02, zero bias; for each linear layer in a model."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            _zero_bias(module)


def _zero_bias(module: Weighted) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
