"""Multiply-adds and activations of models."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .operator_counts import Handle, OperatorCountAnalysis


class FlopCountAnalysis(OperatorCountAnalysis):
    """Counts multiply-adds: one fused multiply and add is one flop.

    Convolutions, matrix products, attention, normalisation, interpolation and pooling are
    counted; what costs little beside them is listed by `unsupported_ops`.

    Args:
        model: any module.
        inputs: see `OperatorCountAnalysis`.

    Example:
        >>> flops = FlopCountAnalysis(nn.Linear(1000, 10), torch.zeros(1, 1000))
        >>> flops.total()
        10000
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__(model, inputs, _FLOP_HANDLES)


class ActivationCountAnalysis(OperatorCountAnalysis):
    """Counts the elements of the results of convolutions and matrix products.

    Args:
        model: any module.
        inputs: see `OperatorCountAnalysis`.

    Source: Radosavovic et al., "Designing Network Design Spaces", 2020, section 3.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        handles = {name: (_FLOP_HANDLES[name][0], _size_of_result) for name in _PRODUCTS}
        super().__init__(model, inputs, handles)


def flop_count_operators(
    model: nn.Module, inputs: Sequence[Mapping[str, Any]]
) -> defaultdict[str, float]:
    """Billions of multiply-adds by operator, of a model of ours in inference.

    How many there are depends on what the model finds in the image; average over several.

    Args:
        model: takes a list of dicts.
        inputs: dicts of which only ``image`` is used.
    """
    return _by_operator(FlopCountAnalysis, model, inputs, 1e9)


def activation_count_operators(
    model: nn.Module, inputs: Sequence[Mapping[str, Any]], **kwargs: Handle | None
) -> defaultdict[str, float]:
    """Millions of activations by operator, see `flop_count_operators`.

    Args:
        model: takes a list of dicts.
        inputs: dicts of which only ``image`` is used.
        **kwargs: see `OperatorCountAnalysis.set_op_handle`.
    """
    return _by_operator(ActivationCountAnalysis, model, inputs, 1e6, **kwargs)


def _by_operator(
    analysis_class: Callable[[nn.Module, Any], OperatorCountAnalysis],
    model: nn.Module,
    inputs: Sequence[Mapping[str, Any]],
    unit: float,
    **handles: Handle | None,
) -> defaultdict[str, float]:
    images = [{"image": entry["image"]} for entry in inputs]
    training = model.training
    model.eval()
    try:
        counts = analysis_class(model, (images,)).set_op_handle(**handles).by_operator()
    finally:
        model.train(training)
    return defaultdict(float, {name: count / unit for name, count in counts.items()})


def _size_of_result(args: Sequence[Any], out: Any) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))


def _convolution(args: Sequence[Any], out: Tensor) -> int:
    # Every element of the result (of a transposed one: of the input) meets one filter.
    weight, transposed = args[1], args[6]
    positions = args[0] if transposed else out
    return int(positions.numel() * math.prod(weight.shape[1:]))


def _deformable_convolution(args: Sequence[Any], out: Tensor) -> int:
    """As a plain one, and four for each value that is interpolated in the input."""
    weight = args[3]
    taps = math.prod(weight.shape[2:]) * args[0].shape[1]
    positions = out.numel() // out.shape[1]
    return int(out.numel() * math.prod(weight.shape[1:]) + 4 * taps * positions)


def _product(first: int) -> Handle:
    """Of matrices (..., n, k) and (..., k, m), where the first is this argument."""
    return lambda args, out: out.numel() * args[first].shape[-1]


def _attention(args: Sequence[Any], out: Any) -> int:
    query, key, value = args[:3]
    scores = query.shape[:-1].numel() * key.shape[-2]
    return int(scores * (query.shape[-1] + value.shape[-1]))


def _per_element(flops: int) -> Handle:
    """So many for each element of the first argument."""
    return lambda args, out: flops * args[0].numel()


def _per_result(flops: int) -> Handle:
    """So many for each element of the result."""
    return lambda args, out: flops * out.numel()


_FLOP_HANDLES: dict[str, tuple[str, Handle]] = {
    "aten::convolution": ("conv", _convolution),
    "d2_ops::deform_conv2d": ("deform_conv", _deformable_convolution),
    "aten::addmm": ("addmm", _product(1)),
    "mkldnn::_linear_pointwise": ("addmm", _product(0)),
    "aten::mm": ("matmul", _product(0)),
    "aten::bmm": ("matmul", _product(0)),
    "aten::baddbmm": ("matmul", _product(1)),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ("attention", _attention),
    "aten::_scaled_dot_product_flash_attention": ("attention", _attention),
    "aten::_scaled_dot_product_efficient_attention": ("attention", _attention),
    "aten::native_batch_norm": ("batch_norm", _per_element(2)),
    "aten::_native_batch_norm_legit": ("batch_norm", _per_element(2)),
    "aten::_native_batch_norm_legit_no_training": ("batch_norm", _per_element(2)),
    "aten::cudnn_batch_norm": ("batch_norm", _per_element(2)),
    "aten::native_group_norm": ("group_norm", _per_element(5)),
    "aten::native_layer_norm": ("layer_norm", _per_element(5)),
    "aten::upsample_bilinear2d": ("upsample_bilinear2d", _per_result(4)),
    "aten::upsample_bicubic2d": ("upsample_bicubic2d", _per_result(16)),
    "aten::mean": ("mean", _per_element(1)),
    "aten::_adaptive_avg_pool2d": ("adaptive_avg_pool2d", _per_element(1)),
    "aten::avg_pool2d": ("avg_pool2d", _per_element(1)),
}
_PRODUCTS = (
    "aten::convolution",
    "aten::addmm",
    "mkldnn::_linear_pointwise",
    "aten::mm",
    "aten::bmm",
    "aten::baddbmm",
)
