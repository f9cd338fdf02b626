"""Operators of d2-ops that ONNX has no standard ones for, by those of its library for ONNX Runtime.

The functions are like those of `d2_modeling.export.onnx_operators`. The operators they call are
described in `d2_ops.onnx_library`, which says where a runtime finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import d2_ops

from .onnx_values import integers, opset

__all__ = [
    "DEFORM_COLUMNS",
    "custom_domains",
    "custom_translations",
    "domains_of_file",
    "output_types",
    "register_domains",
]

DEFORM_COLUMNS = "DeformColumns"
"""The operator whose columns a deformable convolution multiplies with its weights."""

_DOMAIN = d2_ops.__name__
_VERSION = 1
_NMS = "NmsRotated"  # the only one that gives no float32
_FLOAT, _DOUBLE, _INT64 = "tensor(float)", "tensor(double)", "tensor(int64)"


def custom_domains(model: Any) -> tuple[str, ...]:
    """The domains that an ``onnx.ModelProto`` needs a library of operators for."""
    return tuple(each.domain for each in model.opset_import if each.domain == _DOMAIN)


def domains_of_file(path: Path) -> tuple[str, ...]:
    """The same of an ONNX file."""
    return custom_domains(import_module("onnx").load(str(path), load_external_data=False))


def output_types(graph: Any) -> list[Any]:
    """``onnx.ValueInfoProto`` of what the domain's operators give, which ONNX cannot infer."""
    onnx = import_module("onnx")
    known = {each.name for each in graph.value_info}
    return [
        onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.INT64 if node.op_type == _NMS else onnx.TensorProto.FLOAT, None
        )
        for node in graph.node
        if node.domain == _DOMAIN
        for name in node.output
        if name not in known
    ]


def register_domains(options: Any, domains: Iterable[str]) -> None:
    """Give the ``SessionOptions`` of ONNX Runtime the libraries of operators that a file needs.

    Raises:
        ImportError: if this installation of d2-ops has no such library.
        ValueError: if it is not known who has the operators of a domain, or ONNX Runtime does not
            take their library.
    """
    for domain in domains:
        if domain != _DOMAIN:
            raise ValueError(
                f"there is no library for the operators of the domain {domain!r}, only for those "
                f"of {_DOMAIN!r}"
            )
        library: Path = d2_ops.onnx_library()
        try:
            options.register_custom_ops_library(str(library))
        except Exception as error:  # of classes that ONNX Runtime does not publish
            raise ValueError(
                f"ONNX Runtime cannot load the operators of {_DOMAIN} from {library}: {error}"
            ) from error


def custom_translations() -> dict[Any, Callable[..., Any]]:
    """For each operator that has no standard translation, the function that makes it."""
    d2_ops.load_library()
    operators: Any = getattr(torch.ops, _DOMAIN)
    return {
        operators.nms_rotated.default: _nms_rotated,
        operators.batched_nms_rotated.default: _batched_nms_rotated,
        operators.box_iou_rotated.default: _box_iou_rotated,
        operators.decode_rotated_boxes.default: _decode_rotated_boxes,
        operators.roi_align_rotated.default: _roi_align_rotated,
        operators.roi_align_rotated_forward.default: _roi_align_rotated,
        operators.multilevel_roi_align_rotated.default: _multilevel_roi_align_rotated,
        operators.multilevel_roi_align_rotated_forward.default: _multilevel_roi_align_rotated,
        operators.deform_conv2d.default: _deform_conv2d,
    }


def _custom(
    name: str, inputs: Sequence[tuple[str, Any]], output: str, attributes: Mapping[str, Any]
) -> Any:
    """A node of the domain.

    Args:
        name: the operator.
        inputs: the type and the value of each input.
        output: the type of the output.
        attributes: numbers, and lists of them.
    """
    defs = import_module("onnx").defs
    values = import_module("onnxscript").values
    schema = defs.OpSchema(
        name,
        _DOMAIN,
        _VERSION,
        inputs=[
            defs.OpSchema.FormalParameter(f"input_{index}", type_)
            for index, (type_, _) in enumerate(inputs)
        ],
        outputs=[defs.OpSchema.FormalParameter("output", output)],
        attributes=[
            defs.OpSchema.Attribute(label, _attribute_type(defs, value))
            for label, value in attributes.items()
        ],
    )
    node = values.Op(values.Opset(_DOMAIN, _VERSION), name, schema)
    return node(*(value for _, value in inputs), **attributes)


def _attribute_type(defs: Any, value: Any) -> Any:
    kinds = defs.OpSchema.AttrType
    if isinstance(value, list):
        return kinds.FLOATS if isinstance(value[0], float) else kinds.INTS
    return kinds.FLOAT if isinstance(value, float) else kinds.INT


def _nms_rotated(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    return _suppress(boxes, scores, iou_threshold)


def _batched_nms_rotated(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    return _suppress(boxes, scores, iou_threshold, (_INT64, idxs))


def _suppress(boxes: Any, scores: Any, iou_threshold: float, *idxs: tuple[str, Any]) -> Any:
    # An attribute would be a float32, and boxes at the threshold might be on its other side.
    onnx = import_module("onnx")
    scalar = onnx.helper.make_tensor("", onnx.TensorProto.DOUBLE, (), [float(iou_threshold)])
    threshold = opset().Constant(value=scalar)
    inputs = [(_FLOAT, boxes), (_FLOAT, scores), (_DOUBLE, threshold), *idxs]
    return _custom(_NMS, inputs, _INT64, {})


def _box_iou_rotated(boxes1: Any, boxes2: Any) -> Any:
    return _custom("BoxIouRotated", [(_FLOAT, boxes1), (_FLOAT, boxes2)], _FLOAT, {})


def _decode_rotated_boxes(
    deltas: Any, boxes: Any, weights: Sequence[float], scale_clamp: float
) -> Any:
    settings = {
        "weights": [float(weight) for weight in weights],
        "scale_clamp": float(scale_clamp),
    }
    return _custom("DecodeRotatedBoxes", [(_FLOAT, deltas), (_FLOAT, boxes)], _FLOAT, settings)


def _roi_align_rotated(
    input: Any,
    boxes: Any,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
) -> Any:
    op = opset()
    onnx = import_module("onnx")
    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, (1,), [0])
    count = op.Slice(op.Shape(boxes), integers(0), integers(1))
    levels = op.ConstantOfShape(count, value=zero)
    return _multilevel_roi_align_rotated(
        [input], boxes, levels, [spatial_scale], pooled_height, pooled_width, sampling_ratio
    )


def _multilevel_roi_align_rotated(
    features: Sequence[Any],
    boxes: Any,
    levels: Any,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
) -> Any:
    settings = {
        "spatial_scales": [float(scale) for scale in spatial_scales],
        "output_size": [int(pooled_height), int(pooled_width)],
        "sampling_ratio": int(sampling_ratio),
    }
    inputs = [(_FLOAT, boxes), (_INT64, levels), *((_FLOAT, each) for each in features)]
    return _custom("RoiAlignRotated", inputs, _FLOAT, settings)


def _deform_conv2d(
    input: Any,
    offset: Any,
    mask: Any,
    weight: Any,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
) -> Any:
    op = opset()
    filters, per_group, *kernel = (int(size) for size in weight.shape)
    groups, taps = int(input.shape[1]) // per_group, kernel[0] * kernel[1]
    inputs = [(_FLOAT, op.Transpose(input, perm=[0, 2, 3, 1])), (_FLOAT, offset)]
    if mask is not None:
        inputs.append((_FLOAT, mask))
    settings = {
        "kernel": kernel,
        "stride": [int(stride_h), int(stride_w)],
        "padding": [int(pad_h), int(pad_w)],
        "dilation": [int(dilation_h), int(dilation_w)],
        "groups": groups,
    }
    columns = _custom(DEFORM_COLUMNS, inputs, _FLOAT, settings)
    by_group = op.Reshape(weight, integers(groups, filters // groups, per_group, taps))
    matrix = op.Transpose(by_group, perm=[0, 3, 2, 1])
    # Of one group it has two dimensions: runtimes then lay it out once for all calls.
    leading = (groups,) if groups > 1 else ()
    matrix = op.Reshape(matrix, integers(*leading, taps * per_group, filters // groups))
    planes = op.Transpose(op.MatMul(columns, matrix), perm=[0, 1, 3, 2])
    shape = op.Shape(offset)
    images, pixels = (op.Slice(shape, integers(a), integers(b)) for a, b in ((0, 1), (2, 4)))
    return op.Reshape(planes, op.Concat(images, integers(filters), pixels, axis=0))
