"""Shape functions and derivatives of the operators that pool regions by weighted sums of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._determinism import warn_or_raise_if_deterministic
from ._library import call, operators, qualified

_ops = operators()

Features = Tensor | Sequence[Tensor]


def pool(name: str, features: Features, *arguments: object) -> Tensor:
    """Call the operator ``name``, through autograd where a derivative may be asked for."""
    maps = [features] if isinstance(features, Tensor) else features
    differentiable = torch.compiler.is_compiling() or (
        torch.is_grad_enabled() and any(feature_map.requires_grad for feature_map in maps)
    )
    # Passing through autograd costs more than a small call: do it where it matters.
    operator = getattr(_ops, name if differentiable else f"{name}_forward")
    pooled: Tensor = call(name, operator, features, *arguments)
    return pooled


def register_linear_pooling(name: str, *, regions: int, channels_last: bool = False) -> None:
    """Register what Python adds to the three schemas of an operator that is linear in its features.

    The schemas are ``name`` and ``name_forward`` (features, regions, settings), where features is
    a tensor or a list of them, and ``name_backward`` (gradient, regions, settings, input sizes).
    Settings begin with the scales and the pooled height and width.

    Args:
        name: of the operator.
        regions: how many tensors describe the regions.
        channels_last: whether there is a fourth schema, ``name_backward_channels_last``, for the
            gradients of maps on the CPU whose channels lie beside each other.
    """
    channels_last_backward = f"{name}_backward_channels_last"

    def pooled_shape(features: Features, *arguments: Any) -> Tensor:
        first = features if isinstance(features, Tensor) else features[0]
        height, width = arguments[regions + 1 : regions + 3]
        return first.new_empty((arguments[0].shape[0], first.shape[1], height, width))

    def input_shape(grad: Tensor, *arguments: Any) -> Features:
        batch, channels, *sides = arguments[-1]
        maps = [
            grad.new_empty((batch, channels, height, width))
            for height, width in zip(sides[::2], sides[1::2], strict=True)
        ]
        return maps[0] if isinstance(arguments[regions], float) else maps

    def save_regions(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        features, *arguments = inputs
        ctx.save_for_backward(*arguments[:regions])
        ctx.settings = arguments[regions:]
        maps = [features] if isinstance(features, Tensor) else features
        ctx.sizes = [*maps[0].shape[:2], *(side for each in maps for side in each.shape[2:])]
        ctx.backward = f"{name}_backward"
        if channels_last and all(map(_has_channels_last, maps)):
            ctx.backward = channels_last_backward

    def backward(ctx: Any, grad: Tensor) -> tuple[object, ...]:
        if grad.is_cuda:
            warn_or_raise_if_deterministic(name)
        grad_features = getattr(_ops, ctx.backward)(
            grad, *ctx.saved_tensors, *ctx.settings, ctx.sizes
        )
        return grad_features, *[None] * (regions + len(ctx.settings))

    def save_regions_of_backward(ctx: Any, inputs: tuple[Any, ...], output: Features) -> None:
        _, *arguments, _ = inputs
        ctx.save_for_backward(*arguments[:regions])
        ctx.settings = arguments[regions:]

    def double_backward(ctx: Any, grad_features: Features) -> tuple[object, ...]:
        # Pooling is linear: the derivative of its transpose is pooling again.
        grad = getattr(_ops, name)(grad_features, *ctx.saved_tensors, *ctx.settings)
        return grad, *[None] * (regions + len(ctx.settings) + 1)

    def channels_last_input_shape(grad: Tensor, *arguments: Any) -> list[Tensor]:
        batch, channels, *sides = arguments[-1]
        return [
            grad.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)
            for height, width in zip(sides[::2], sides[1::2], strict=True)
        ]

    torch.library.register_fake(qualified(name), pooled_shape)
    torch.library.register_fake(qualified(f"{name}_forward"), pooled_shape)
    torch.library.register_fake(qualified(f"{name}_backward"), input_shape)
    torch.library.register_autograd(qualified(name), backward, setup_context=save_regions)
    torch.library.register_autograd(
        qualified(f"{name}_backward"), double_backward, setup_context=save_regions_of_backward
    )
    if channels_last:
        torch.library.register_fake(qualified(channels_last_backward), channels_last_input_shape)
        torch.library.register_autograd(
            qualified(channels_last_backward),
            double_backward,
            setup_context=save_regions_of_backward,
        )


def _has_channels_last(feature_map: Tensor) -> bool:
    return (
        feature_map.device.type == "cpu"
        and not feature_map.is_contiguous()
        and feature_map.is_contiguous(memory_format=torch.channels_last)
    )
