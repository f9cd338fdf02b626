"""Convolution with its normalisation and activation, and blocks made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeGuard

from torch import Tensor, nn

from ..initialization import msra_fill
from .norm import FrozenBatchNorm2d, get_norm

Activation = Callable[[Tensor], Tensor]
Norm = str | Callable[[int], nn.Module]


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` followed by an optional normalisation and activation.

    A `FrozenBatchNorm2d` is multiplied into the weights instead of being applied to the
    output: the same function at the cost of the convolution alone.

    Args:
        *args: as in ``nn.Conv2d``.
        norm: normalisation module applied to the output, or None.
        activation: function applied last, or None.
        **kwargs: as in ``nn.Conv2d``.
    """

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Activation | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W'); N may be 0."""
        if is_affine(self.norm):
            scale, shift = self.norm.scale_and_shift()
            bias = shift if self.bias is None else self.bias * scale + shift
            weight = self.weight * scale[:, None, None, None]
            x = self._conv_forward(input, weight.to(self.weight.dtype), bias.to(self.weight.dtype))
        else:
            x = self._conv_forward(input, self.weight, self.bias)
            if self.norm is not None:
                x = self.norm(x)
        return x if self.activation is None else self.activation(x)


def is_affine(norm: nn.Module | None) -> TypeGuard[FrozenBatchNorm2d]:
    """Whether a norm may be multiplied into weights: it is `FrozenBatchNorm2d` as it is here.

    A subclass with its own forward, and one with hooks, want to be called.
    """
    return (
        isinstance(norm, FrozenBatchNorm2d)
        and type(norm).forward is FrozenBatchNorm2d.forward
        and not norm._forward_hooks
        and not norm._forward_pre_hooks
    )


class CNNBlockBase(nn.Module):
    """A block with known input channels, output channels and stride.

    Its forward maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: how much smaller the output is.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> Self:
        """Stop training this block: no gradients, batch norms become frozen ones."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self


def freeze_stages(stem: nn.Module, stages: Sequence[nn.Module], freeze_at: int) -> None:
    """Freeze the first stages of a network made of `CNNBlockBase`.

    Args:
        stem: the first stage, a block.
        stages: the others in order, whose children are blocks.
        freeze_at: number of stages to freeze, the stem being the first of them.
    """
    if freeze_at < 1:
        return
    blocks = [stem]
    for stage in stages[: freeze_at - 1]:
        blocks.extend(stage.children())
    for block in blocks:
        assert isinstance(block, CNNBlockBase)
        block.freeze()


class DepthwiseSeparableConv2d(nn.Module):
    """A k×k convolution per channel, then a 1×1 convolution over channels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: size of the first convolution.
        padding: padding of the first convolution.
        dilation: dilation of the first convolution.
        norm1: normalisation after the first, see `get_norm`.
        activation1: activation after the first.
        norm2: normalisation after the second.
        activation2: activation after the second.

    Source: Chollet, "Xception", 2017 (norm and activation on the second);
    Howard et al., "MobileNets", 2017 (on both).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: int = 1,
        dilation: int = 1,
        *,
        norm1: Norm | None = None,
        activation1: Activation | None = None,
        norm2: Norm | None = None,
        activation2: Activation | None = None,
    ) -> None:
        super().__init__()
        self.depthwise = Conv2d(
            in_channels,
            in_channels,
            kernel_size=kernel_size,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=not norm1,
            norm=get_norm(norm1, in_channels),
            activation=activation1,
        )
        self.pointwise = Conv2d(
            in_channels,
            out_channels,
            kernel_size=1,
            bias=not norm2,
            norm=get_norm(norm2, out_channels),
            activation=activation2,
        )
        msra_fill(self.depthwise)
        msra_fill(self.pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H', W')."""
        return self.pointwise(self.depthwise(x))
