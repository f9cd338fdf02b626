"""What TensorRT's parser of ONNX graphs takes, as far as its documentation says.

``tensorrt_operators.json`` names the version it was taken from; for each operator it has those of
FP32, INT64 and BOOL, the types of exported graphs, that the parser takes.
"""

import json
import pathlib
from typing import Any

_LISTED = json.loads((pathlib.Path(__file__).parent / "tensorrt_operators.json").read_text())
_TYPES = {1: "FP32", 7: "INT64", 9: "BOOL"}  # as ONNX numbers types


def unlisted(model: Any) -> list[str]:
    """What the parser is not said to take, one line each; empty where it takes everything.

    Args:
        model: an ``onnx.ModelProto``.
    """
    from onnx import shape_inference

    found = _of_opsets(model)
    inferred = shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {constant.name: constant.data_type for constant in inferred.initializer}
    for node in _nodes(inferred):
        listed = _LISTED["operators"].get(node.op_type)
        kind = types.get(_deciding(node))
        if node.domain not in ("", "ai.onnx") or listed is None:
            found.add(f"{node.domain}:{node.op_type}".lstrip(":"))
        elif kind is not None and _TYPES.get(kind, str(kind)) not in listed.split():
            found.add(f"{node.op_type} of {_TYPES.get(kind, kind)}")
        elif node.op_type == "Resize":
            modes = {each.s.decode() for each in node.attribute if each.name == "mode"}
            found |= {f"Resize, {mode}" for mode in modes - {"nearest", "linear"}}
    return sorted(found)


def _of_opsets(model: Any) -> set[str]:
    lowest, highest = _LISTED["opsets"]
    return {
        f"opset {each.version} of {each.domain!r}"
        for each in model.opset_import
        if each.domain in ("", "ai.onnx") and not lowest <= each.version <= highest
    }


def _deciding(node: Any) -> str:
    """The value whose type is meant by that of an operator."""
    if node.op_type in ("Constant", "ConstantOfShape"):
        return str(node.output[0])
    return str(node.input[1 if node.op_type == "Where" else 0]) if node.input else ""


def _nodes(graph: Any) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
