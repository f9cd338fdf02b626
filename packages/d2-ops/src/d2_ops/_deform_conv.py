"""Deformable convolution, plain and modulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ._arguments import check_device, check_elements, check_floating, describe, pair
from ._determinism import warn_or_raise_if_deterministic
from ._library import operators, qualified

_ops = operators()

Pair: TypeAlias = int | tuple[int, int]

_MOST = 2**31 - 1
"""Of stride, padding and dilation, whose products with sizes then fit into 64 bits."""


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Convolve with a kernel whose taps are moved, each at every output pixel.

    A moved tap samples the input bilinearly, zeros surrounding it. D, the number of deformable
    groups, is inferred from ``offset``: channels are split into D runs that are moved alike. The
    groups of the convolution are inferred from ``weight``.

    Args:
        input: (B, C, H, W) floating.
        offset: (B, D * kernel height * kernel width * 2, H', W') floating, in pixels: for every
            tap in row-major order how far it is moved down, then how far to the right.
        weight: (O, C / groups, kernel height, kernel width) floating.
        bias: (O,) floating, added to the output.
        stride: steps of the kernel as (y, x), or one number for both.
        padding: zeros on each side as (y, x).
        dilation: steps between taps as (y, x).
        mask: (B, D * kernel height * kernel width, H', W') floating factors of the samples: the
            modulation of version 2. None is version 1.

    Returns:
        (B, O, H', W') in the dtype of ``input``, also under autocast, with H' and W' as of an
        ordinary convolution. B == 0 gives an empty tensor. On the CPU everything is computed in
        float32 (float64 for float64); on CUDA samples and weights are multiplied in the dtype of
        ``input``. Any tensor may have another precision. Differentiable once in every tensor. An
        offset that is NaN makes its output pixel NaN.

    Raises:
        TypeError: if an argument is not a floating tensor.
        ValueError: if a shape, device or number does not fit.
        RuntimeError: from the backward on CUDA under ``torch.use_deterministic_algorithms(True)``,
            and from differentiating twice.

    Source: Dai et al., "Deformable Convolutional Networks", 2017; Zhu et al., "Deformable
    ConvNets v2", 2019.
    """
    settings = _Settings(
        pair("stride", stride), pair("padding", padding), pair("dilation", dilation)
    )
    _check(input, offset, mask, weight, bias, settings)
    out: Tensor = _ops.deform_conv2d(input, offset, mask, weight, *settings.flat())
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


class _DeformConv(nn.Module):
    """What both modules share: parameters, normalisation and activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """As ``nn.Conv2d``, and:

        Args:
            deformable_groups: how many runs of input channels have offsets of their own.
            norm: applied to the output, or None.
            activation: function applied last, or None.

        Raises:
            ValueError: if channels cannot be divided into groups, or the kernel is larger than a
                tensor can be.
        """
        super().__init__()
        for name, divisor, divided in (
            ("groups", groups, {"in_channels": in_channels, "out_channels": out_channels}),
            ("deformable_groups", deformable_groups, {"in_channels": in_channels}),
        ):
            for of, channels in divided.items():
                if divisor < 1 or channels % divisor != 0:
                    raise ValueError(f"{name}={divisor} does not divide {of}={channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair("kernel_size", kernel_size)
        check_elements("the weight", out_channels, in_channels // groups, *self.kernel_size)
        self.stride = pair("stride", stride)
        self.padding = pair("padding", padding)
        self.dilation = pair("dilation", dilation)
        self.groups = groups
        self.deformable_groups = deformable_groups
        self.norm = norm
        self.activation = activation
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def _convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        wanted = 2 * self.deformable_groups * self.kernel_size[0] * self.kernel_size[1]
        if offset.dim() == 4 and offset.shape[1] != wanted:
            raise ValueError(
                f"offset must have {wanted} channels for {self.deformable_groups} deformable "
                f"groups and a kernel of {self.kernel_size}, got {describe(offset)}"
            )
        x = deform_conv2d(
            x, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask
        )
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, deformable_groups={self.deformable_groups}, "
            f"bias={self.bias is not None}"
        )


class DeformConv(_DeformConv):
    """Deformable convolution with its weights, followed by a normalisation and an activation.

    Parameters are ``weight`` and ``bias`` as of ``deform_conv2d``; those of a normalisation
    module are found under ``norm.``.

    Source: Dai et al., "Deformable Convolutional Networks", 2017.
    """

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, O, H', W'), see ``deform_conv2d``; B may be 0."""
        return self._convolve(x, offset, None)


class ModulatedDeformConv(_DeformConv):
    """``DeformConv`` whose samples are also weighted; it has a bias unless told otherwise.

    Source: Zhu et al., "Deformable ConvNets v2", 2019.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """As ``DeformConv``."""
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deformable_groups,
            bias,
            norm,
            activation,
        )

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, O, H', W'), see ``deform_conv2d``; B may be 0."""
        return self._convolve(x, offset, mask)


class _Settings(NamedTuple):
    """Stride, padding and dilation as (y, x)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def flat(self) -> tuple[int, ...]:
        return self.stride + self.padding + self.dilation

    def output_size(self, input: Tensor, weight: Tensor) -> tuple[int, int]:
        height, width = (
            (
                input.shape[2 + i]
                + 2 * self.padding[i]
                - self.dilation[i] * (weight.shape[2 + i] - 1)
                - 1
            )
            // self.stride[i]
            + 1
            for i in range(2)
        )
        return height, width


def _check(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    settings: _Settings,
) -> None:
    tensors = {"input": input, "offset": offset, "weight": weight}
    if mask is not None:
        tensors["mask"] = mask
    for name, tensor in tensors.items():
        check_floating(name, tensor)
        if tensor.dim() != 4:
            raise ValueError(f"{name} must have 4 dimensions, got {describe(tensor)}")
        check_device(name, tensor, "input", input)
    for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
        if min(getattr(settings, name)) < least or max(getattr(settings, name)) > _MOST:
            raise ValueError(
                f"{name} must be at least {least} and at most {_MOST}, got "
                f"{getattr(settings, name)}"
            )
    channels, (filters, per_group, *kernel) = input.shape[1], weight.shape
    taps = kernel[0] * kernel[1]
    if per_group == 0 or taps == 0 or channels == 0 or channels % per_group != 0:
        raise ValueError(
            f"weight must have shape (O, C / groups, height, width) for {channels} input "
            f"channels, got {describe(weight)}"
        )
    groups = channels // per_group
    if filters % groups != 0:
        raise ValueError(f"weight's {filters} filters cannot be divided into {groups} groups")
    if bias is not None:
        check_floating("bias", bias)
        check_device("bias", bias, "input", input)
        if bias.shape != (filters,):
            raise ValueError(f"bias must have shape ({filters},), got {describe(bias)}")
    height, width = settings.output_size(input, weight)
    if height <= 0 or width <= 0:
        raise ValueError(
            f"input with padding is smaller than the kernel: {describe(input)}, padding "
            f"{settings.padding}, kernel {tuple(kernel)}, dilation {settings.dilation}"
        )
    deformable_groups = offset.shape[1] // (2 * taps)
    if deformable_groups == 0 or offset.shape[1] % (2 * taps) or channels % deformable_groups:
        raise ValueError(
            f"offset must have {2 * taps} channels per deformable group, and the groups divide "
            f"{channels} input channels, got {describe(offset)}"
        )
    wanted = {"offset": 2 * deformable_groups * taps, "mask": deformable_groups * taps}
    for name, planes in wanted.items():
        if name in tensors and tensors[name].shape != (input.shape[0], planes, height, width):
            raise ValueError(
                f"{name} must have shape {(input.shape[0], planes, height, width)}, got "
                f"{describe(tensors[name])}"
            )


@torch.library.register_fake(qualified("deform_conv2d"))
def _(input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *settings: int) -> Tensor:
    return input.new_empty((input.shape[0], weight.shape[0], *offset.shape[2:]))


@torch.library.register_fake(qualified("deform_conv2d_backward_sampling"))
def _(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    *settings: int,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_mask = offset.new_empty(0) if mask is None else mask.new_empty(mask.shape)
    return input.new_empty(input.shape), offset.new_empty(offset.shape), grad_mask


@torch.library.register_fake(qualified("deform_conv2d_backward_weight"))
def _(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    *settings: int,
) -> Tensor:
    return weight.new_empty(weight.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    arguments = (grad, *ctx.saved_tensors, *ctx.settings)
    grad_input = grad_offset = grad_mask = grad_weight = None
    if any(ctx.needs_input_grad[:3]):
        if grad.is_cuda:
            warn_or_raise_if_deterministic("deform_conv2d")
        grad_input, grad_offset, grad_mask = _ops.deform_conv2d_backward_sampling(*arguments)
    if ctx.needs_input_grad[3]:
        grad_weight = _ops.deform_conv2d_backward_weight(*arguments)
    if ctx.saved_tensors[2] is None:
        grad_mask = None
    return grad_input, grad_offset, grad_mask, grad_weight, *[None] * 6


def _refuse_second_derivative(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    raise RuntimeError("deform_conv2d can be differentiated once, not twice")


torch.library.register_autograd(
    qualified("deform_conv2d"), _backward, setup_context=_save_for_backward
)
for _operator in ("deform_conv2d_backward_sampling", "deform_conv2d_backward_weight"):
    torch.library.register_autograd(qualified(_operator), _refuse_second_derivative)
