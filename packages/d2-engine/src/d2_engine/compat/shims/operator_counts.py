"""Counting of operations with handles that get lists of inputs and of outputs, as fvcore's do.

Those of d2 get an operator's arguments and its result.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from d2_modeling import analysis

__all__ = [
    "FlopCountAnalysis",
    "Handle",
    "addmm_flop_jit",
    "conv_flop_count",
    "conv_flop_jit",
    "generic_activation_jit",
    "get_shape",
    "matmul_flop_jit",
]

Handle = Callable[[list[Any], list[Any]], Any]
"""From the inputs and the outputs of an operator to a number, or a Counter of one."""


class FlopCountAnalysis(analysis.FlopCountAnalysis):
    """`d2_modeling.analysis.FlopCountAnalysis` that takes handles of fvcore."""

    def set_op_handle(self, *args: Any, **kwargs: Any) -> Self:
        """Count further operators, or in another way; see the base class."""
        bridged = [_bridged(value) if index % 2 else value for index, value in enumerate(args)]
        return super().set_op_handle(*bridged, **{k: _bridged(v) for k, v in kwargs.items()})


def _bridged(handle: Any) -> Any:
    if handle is None:
        return None

    def count(args: Sequence[Any], out: Any) -> Any:
        outputs = list(out) if isinstance(out, (list, tuple)) else [out]
        result = handle(list(args), outputs)
        return sum(result.values()) if isinstance(result, Counter) else result

    return count


def get_shape(val: Any) -> list[int] | None:
    """The shape of a tensor; None for anything else."""
    return list(val.shape) if isinstance(val, Tensor) else None


def conv_flop_count(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    out_shape: Sequence[int],
    transposed: bool = False,
) -> int:
    """Multiply-adds of a convolution.

    Args:
        x_shape: (N, C, …) of the input.
        w_shape: of the weights.
        out_shape: of the result.
        transposed: whether it is a transposed one.
    """
    positions = x_shape if transposed else out_shape
    return positions[0] * math.prod(w_shape) * math.prod(positions[2:])


def conv_flop_jit(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Multiply-adds of a convolution, by the name ``conv``."""
    shapes = inputs[0].shape, inputs[1].shape, outputs[0].shape
    return Counter({"conv": conv_flop_count(*shapes, transposed=bool(inputs[6]))})


def addmm_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a linear layer."""
    return int(outputs[0].numel() * inputs[1].shape[-1])


def matmul_flop_jit(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a product of matrices."""
    return int(outputs[0].numel() * inputs[0].shape[-1])


def generic_activation_jit(op_name: str) -> Callable[[list[Any], list[Any]], int]:
    """A handle that counts the elements of an operator's result."""

    def count(inputs: list[Any], outputs: list[Any]) -> int:
        return sum(torch.Tensor.numel(out) for out in outputs if isinstance(out, Tensor))

    return count
