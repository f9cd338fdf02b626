"""Weight initialisation of convolutions and linear layers."""

from __future__ import annotations

from torch import nn

Weighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def msra_fill(module: Weighted) -> None:
    """He-normal weights over the fan-out, zero bias.

    Source: He et al., "Delving Deep into Rectifiers", 2015.
    """
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    _zero_bias(module)


def xavier_fill(module: Weighted) -> None:
    """Uniform weights in ±sqrt(3 / fan_in), zero bias.

    Source: Caffe2's XavierFill; Glorot & Bengio, 2010, with the fan-in alone.
    """
    nn.init.kaiming_uniform_(module.weight, a=1)
    _zero_bias(module)


def normal_fill(module: Weighted, std: float) -> None:
    """Normal weights around zero, zero bias."""
    nn.init.normal_(module.weight, std=std)
    _zero_bias(module)


def _zero_bias(module: Weighted) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
