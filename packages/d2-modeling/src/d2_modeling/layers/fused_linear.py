"""A linear layer whose bias and activation are computed while it multiplies."""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

from ..host_waits import is_recording

_APPROXIMATIONS = ("none", "tanh")  # of GELU, as oneDNN calls them too


class FusedLinear(nn.Linear):
    """An ``nn.Linear`` computed by oneDNN where no gradient is wanted.

    ATen copies the bias into the output before it multiplies, and GELU writes another output:
    memory that is written once here, which for maps of a vision transformer takes a quarter off.
    Parameters and their names in state dicts are those of the ``nn.Linear`` that it was.
    """

    def forward(self, input: Tensor) -> Tensor:
        """See ``nn.Linear.forward``."""
        return self.multiply(input, "none") if self.fuses(input) else super().forward(input)

    def fuses(self, input: Tensor) -> bool:
        """Whether oneDNN may be called directly: in float32 on a CPU, and nothing is recorded."""
        if is_recording():  # where sizes may be no numbers
            return False
        tensors = [input, self.weight] if self.bias is None else [input, self.weight, self.bias]
        return (
            all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
            and input.numel() > 0
            and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
            and not torch.is_autocast_enabled("cpu")
        )

    def multiply(self, input: Tensor, activation: str, approximate: str = "") -> Tensor:
        """The (..., out_features) product, biased and activated, for an input that it `fuses`."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, activation, [], approximate
        )
        return out


def activated(layer: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """``activation(layer(x))``, in one go if that is GELU behind a `FusedLinear`."""
    if (
        type(layer) is FusedLinear
        and type(activation) is nn.GELU
        and activation.approximate in _APPROXIMATIONS
        and not _is_hooked(layer)
        and not _is_hooked(activation)
        and layer.fuses(x)
    ):
        return layer.multiply(x, "gelu", activation.approximate)
    out: Tensor = activation(layer(x))
    return out


def fuse_linears(model: nn.Module) -> int:
    """Make a `FusedLinear` of every plain ``nn.Linear`` of a model, in place.

    Subclasses and weights that are made anew at each call (parametrised, quantised) are left
    alone; so are all layers where oneDNN is not there or not known to be faster.

    Returns:
        How many there are, those that a former call has made included.
    """
    if _is_known_faster():
        for layer in model.modules():
            if type(layer) is nn.Linear and type(layer.weight) is nn.Parameter:
                layer.__class__ = FusedLinear
    return sum(type(layer) is FusedLinear for layer in model.modules())


def unfuse_linears(model: nn.Module) -> None:
    """Make a plain ``nn.Linear`` again of every `FusedLinear` of a model."""
    for layer in model.modules():
        if type(layer) is FusedLinear:
            layer.__class__ = nn.Linear  # type: ignore[assignment]  # the class that it was


def _is_known_faster() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and platform.machine().lower() in ("x86_64", "amd64")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
