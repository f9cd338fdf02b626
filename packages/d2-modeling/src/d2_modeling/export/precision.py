"""Files that compute in fewer bits: which there are, and ONNX files of float16."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from d2_structures import import_optional

from .custom_operators import register_domains

__all__ = ["BETWEEN", "HEAVY", "PRECISIONS", "check_precision", "fold", "to_float16"]

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
"""What a file may compute in."""

_OTHERS = {"onnx": ("float16", "int8"), "openvino": ("bfloat16", "int8")}
"""By format what it may compute in but float32."""

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators of layers of weights."""

BETWEEN = ("Relu", "MaxPool", "Add")
"""Operators that lie between such layers."""

_FLOAT, _HALF = 1, 10  # as ONNX numbers types


def check_precision(precision: str, format: str, has_calibration: bool) -> None:
    """Refuse what cannot be written.

    Raises:
        ValueError: if there is no such precision, the format knows float32 only, or calibration
            inputs are missing or useless.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; there are {list(PRECISIONS)}")
    known = ("float32", *_OTHERS.get(format, ()))
    if precision not in known:
        kinds = [kind for kind, others in _OTHERS.items() if precision in others]
        raise ValueError(
            f"precision {precision!r} is for the format {kinds}, not {format!r}, which has "
            f"{list(known)}"
        )
    if precision == "int8" and not has_calibration:
        raise ValueError("precision 'int8' needs calibration_inputs: images like those it will see")
    if precision != "int8" and has_calibration:
        raise ValueError(
            f"precision {precision!r} takes no calibration_inputs: leave them out, or ask for "
            "'int8'"
        )


def to_float16(path: Path, custom_domains: Sequence[str] = ()) -> None:
    """Let convolutions and layers of weights in an ONNX file, and what lies between, be float16.

    Coordinates and scores stay float32: float16 tells pixels apart up to 2 048 only.

    Args:
        path: the file; it is replaced.
        custom_domains: of operators in it that are not ONNX Runtime's own.

    Raises:
        ImportError: if onnx or ONNX Runtime is not installed.
    """
    onnx = import_optional("onnx", "onnx", package="d2-modeling")
    fold(path, custom_domains)
    model = onnx.load(os.fspath(path))
    _Halving(onnx, model.graph).run()
    onnx.save(model, os.fspath(path))


class _Halving:
    """Gives heavy nodes of a graph inputs and outputs of half the size.

    Args:
        onnx: the package.
        graph: it is changed.
    """

    def __init__(self, onnx: Any, graph: Any) -> None:
        self.onnx, self.graph = onnx, graph
        self.weights = {each.name: each for each in graph.initializer}
        self.nodes: list[Any] = []
        self.half: dict[str, str] = {}  # a float32 value's name: that of its float16 twin

    def run(self) -> None:
        for node in self.graph.node:
            if not self._may_be_half(node):
                self.nodes.append(node)
                continue
            for index, name in enumerate(node.input):
                if name:
                    node.input[index] = self._twin(name)
            (whole,) = node.output
            node.output[0] = self.half[whole] = f"{whole}.half"
            self.nodes += [node, self._cast(node.output[0], whole, _FLOAT)]
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        used = set(_names_read(self.graph))
        kept = [each for each in self.weights.values() if each.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _may_be_half(self, node: Any) -> bool:
        if node.op_type in HEAVY:
            # A product of two computed things may be of whole numbers, or of coordinates.
            weight = self.weights.get(node.input[1])
            return weight is not None and weight.data_type == _FLOAT
        if node.op_type == "Add":  # that of a block of a ResNet, not one of coordinates
            return all(name in self.half for name in node.input)
        return node.op_type in BETWEEN and node.input[0] in self.half

    def _twin(self, name: str) -> str:
        if name not in self.half:
            self.half[name] = f"{name}.half"
            if name in self.weights:
                array = self.onnx.numpy_helper.to_array(self.weights[name]).astype("float16")
                made = self.onnx.numpy_helper.from_array(array, self.half[name])
                self.weights[made.name] = made
            else:
                self.nodes.append(self._cast(name, self.half[name], _HALF))
        return self.half[name]

    def _cast(self, name: str, target: str, kind: int) -> Any:
        return self.onnx.helper.make_node("Cast", [name], [target], f"to {target}", to=kind)


def _names_read(graph: Any) -> Iterator[str]:
    """The values that nodes read, in graphs within the graph too, and the outputs."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names_read(attribute.g)
    yield from (each.name for each in graph.output)


def fold(path: Path, custom_domains: Sequence[str] = ()) -> None:
    """Compute once what is the same in every call, such as weights times frozen norms."""
    runtime = import_optional("onnxruntime", "onnx", package="d2-modeling")
    options = runtime.SessionOptions()
    register_domains(options, custom_domains)
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    folded = path.with_suffix(".folded")
    options.optimized_model_filepath = os.fspath(folded)
    options.log_severity_level = 3
    runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    os.replace(folded, path)
