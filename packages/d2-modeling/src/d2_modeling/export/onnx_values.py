"""What every translation of an operator to ONNX makes its nodes of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["OPSET", "integers", "opset"]

OPSET = 18
"""The opset of exported models: the first whose operators all runtimes of today know."""


def opset() -> Any:
    """ONNX's standard operators, as onnxscript has them."""
    return getattr(import_module("onnxscript"), f"opset{OPSET}")


def integers(*values: int) -> Any:
    """A constant (N,) int64."""
    return opset().Constant(value_ints=list(values))
