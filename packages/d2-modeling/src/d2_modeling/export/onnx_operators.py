"""Operators of d2-ops in ONNX's standard ones.

Each function has the arguments of the operator, as values of the ONNX graph where the operator
takes tensors, and says what the operator computes. They are called while a graph is translated.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch

from .onnx_values import integers, opset

_FLOAT, _INT64, _BOOL = 1, 7, 9  # as ONNX numbers types
_MOST = 2**63 - 1
_LEAST = -3.4e38  # below every score


def translations() -> dict[Any, Callable[..., Any]]:
    """For each operator that has a translation, the function that makes it.

    Raises:
        ImportError: if onnxscript is not installed.
    """
    import d2_ops  # registers its operators

    operators: Any = getattr(torch.ops, d2_ops.__name__)
    table: dict[Any, Callable[..., Any]] = {
        torch.ops.aten.sort.stable: _stable_sort,
        torch.ops.aten._upsample_bilinear2d_aa.default: _antialiased,
        torch.ops.aten.nonzero.default: _nonzero,
        torch.ops.aten.cumsum.default: _cumsum,
        operator.le: _at_most,
        operators.decode_boxes.default: _decode_boxes,
        operators.batched_nms.default: _batched_nms,
        operators.multilevel_roi_align.default: _multilevel_roi_align,
        operators.multilevel_roi_align_forward.default: _multilevel_roi_align,
    }
    # torch 2.10 takes its own instead where names of parameters differ, and fails to compare lists
    # of sizes; what has no name of its own it takes as it is.
    return {target: partial(function) for target, function in table.items()}


def _stable_sort(
    values: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    op = opset()
    count = op.Gather(op.Shape(values), integers(dim % len(values.shape)))
    if values.dtype != _INT64 or len(values.shape) > 1:
        # By the definition of TopK, the first of equals comes first.
        return op.TopK(values, count, axis=dim, largest=int(descending))
    # OpenVINO does not keep to that, so no two numbers are equal.
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    places = op.Range(zero, op.Squeeze(count), one)
    keys = op.Mul(values, count)
    keys = op.Sub(keys, places) if descending else op.Add(keys, places)
    _, order = op.TopK(keys, count, axis=0, largest=int(descending))
    return op.Gather(values, order), order


def _nonzero(values: Any) -> Any:
    op = opset()
    # TensorRT looks for numbers, not for what is true.
    return op.Transpose(op.NonZero(op.Cast(values, to=_FLOAT)), perm=[1, 0])


def _cumsum(values: Any, dim: int, dtype: int | None = None) -> Any:
    op = opset()
    # TensorRT adds up floating-point numbers only; those up to 2**24 are exact.
    sums = op.CumSum(op.Cast(values, to=_FLOAT), op.Constant(value_int=dim))
    wanted = values.dtype if dtype in (None, -1) else dtype
    return sums if wanted == _FLOAT else op.Cast(sums, to=int(wanted))


def _at_most(value: Any, bound: Any) -> Any:
    op = opset()
    # What an export notes about sizes may have bounds beyond int64; they say nothing.
    if isinstance(bound, int) and bound > _MOST:
        return op.Constant(value=_true())
    return op.LessOrEqual(value, bound)


def _antialiased(
    images: Any,
    output_size: Any,
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Any:
    # Not by Resize: OpenVINO and TensorRT know no antialias there, and OpenVINO does not say so.
    op = opset()
    for axis, length in ((2, output_size[0]), (3, output_size[1])):
        if isinstance(length, int) and images.shape[axis] == length:
            continue
        wanted = op.Squeeze(op.Constant(value_int=length) if isinstance(length, int) else length)
        given = op.Squeeze(op.Slice(op.Shape(images), integers(axis), integers(axis + 1)))
        places, weights = _taps(given, wanted)
        if axis == 2:
            weights = op.Unsqueeze(weights, integers(2))
        parts = op.Mul(op.Gather(images, places, axis=axis), weights)
        images = op.ReduceSum(parts, integers(axis + 1), keepdims=0)
    return images


def _taps(given: Any, wanted: Any) -> tuple[Any, Any]:
    """Which pixels a new one is the mean of, and by what weights, both (wanted, number)."""
    op = opset()
    zero, one, half = (op.Constant(value_float=value) for value in (0.0, 1.0, 0.5))
    size = op.Cast(given, to=_FLOAT)
    scale = op.Div(size, op.Cast(wanted, to=_FLOAT))
    support = op.Max(scale, one)
    centre = op.Mul(op.Add(_counted(wanted), half), scale)
    centre = op.Unsqueeze(centre, integers(1))
    number = op.Cast(op.Add(op.Ceil(op.Add(support, support)), one), to=_INT64)
    places = op.Add(op.Floor(op.Sub(centre, support)), _counted(number))
    distance = op.Abs(op.Sub(op.Add(places, half), centre))
    weights = op.Max(op.Sub(one, op.Div(distance, support)), zero)
    is_inside = op.And(op.GreaterOrEqual(places, zero), op.Less(places, size))
    weights = op.Where(is_inside, weights, zero)
    weights = op.Div(weights, op.ReduceSum(weights, integers(1), keepdims=1))
    last = op.Sub(size, one)
    return op.Cast(op.Max(op.Min(places, last), zero), to=_INT64), weights


def _counted(number: Any) -> Any:
    """0, 1, … as floats."""
    op = opset()
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    return op.Cast(op.Range(zero, number, one), to=_FLOAT)


def _columns(values: Any, start: int, stop: int, axis: int = 1) -> Any:
    return opset().Slice(values, integers(start), integers(stop), integers(axis))


def _decode_boxes(deltas: Any, boxes: Any, weights: Sequence[float], scale_clamp: float) -> Any:
    op = opset()
    columns = int(deltas.shape[1])
    factors = op.Constant(value_floats=[float(weight) for weight in weights])
    by_box = op.Div(op.Reshape(deltas, integers(0, columns // 4, 4)), factors)
    shift, log_ratio = _columns(by_box, 0, 2, axis=2), _columns(by_box, 2, 4, axis=2)
    by_row = op.Unsqueeze(boxes, integers(1))
    low, high = _columns(by_row, 0, 2, axis=2), _columns(by_row, 2, 4, axis=2)
    half = op.Constant(value_float=0.5)
    size = op.Sub(high, low)
    centre = op.Add(op.Add(low, op.Mul(size, half)), op.Mul(shift, size))
    clamp = op.Constant(value_float=float(scale_clamp))
    half_size = op.Mul(op.Mul(op.Exp(op.Min(log_ratio, clamp)), size), half)
    corners = op.Concat(op.Sub(centre, half_size), op.Add(centre, half_size), axis=2)
    return op.Reshape(corners, integers(0, columns))


def _batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """A row of boxes for each category, filled up: within a row all are compared with each other.

    The rows are as long as the largest category. Laid out apart in one row instead, boxes of other
    categories would be compared, too, in vain.
    """
    op = opset()
    count = op.Shape(scores)
    _, by_score = op.TopK(scores, count, axis=0, largest=1)
    categories = op.Gather(op.Cast(idxs, to=_FLOAT), by_score)
    categories, by_category = op.TopK(categories, count, axis=0, largest=0)
    before = _columns(op.Concat(op.Constant(value_floats=[_LEAST]), categories, axis=0), 0, -1, 0)
    starts = op.Squeeze(_nonzero(op.Not(op.Equal(categories, before))), integers(1))
    ends = op.Concat(_columns(starts, 1, _MOST, axis=0), count, axis=0)
    longest = op.ReduceMax(op.Concat(op.Sub(ends, starts), integers(1), axis=0), keepdims=0)
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    places = op.Add(op.Unsqueeze(starts, integers(1)), op.Range(zero, longest, one))
    is_there = op.Less(places, op.Unsqueeze(ends, integers(1)))
    rows = op.Where(is_there, places, zero)
    source = op.Gather(by_score, by_category)
    row_boxes = op.Gather(op.Gather(boxes, source), rows)
    row_scores = op.Gather(op.Gather(scores, source), rows)
    row_scores = op.Where(is_there, row_scores, op.Constant(value_float=_LEAST))
    selected = op.NonMaxSuppression(
        row_boxes,
        op.Unsqueeze(row_scores, integers(1)),
        op.Unsqueeze(longest, integers(0)),
        op.Constant(value_floats=[float(iou_threshold)]),
        op.Constant(value_floats=[_LEAST]),
    )
    row, column = (op.Gather(selected, op.Constant(value_int=part), axis=1) for part in (0, 2))
    rank = op.Gather(by_category, op.Add(op.Gather(starts, row), column))
    is_kept = op.ScatterElements(
        op.Expand(op.Constant(value_float=0.0), count),
        rank,
        op.Expand(op.Constant(value_float=1.0), op.Shape(rank)),
    )
    return op.Gather(by_score, op.Squeeze(_nonzero(is_kept), integers(1)))


def _multilevel_roi_align(
    features: Sequence[Any],
    boxes: Any,
    levels: Any,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    op = opset()
    rows, pooled = [], []
    for level, (feature, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        of_level = op.Squeeze(_nonzero(op.Equal(levels, integers(level))), integers(1))
        rois = op.Gather(boxes, of_level, axis=0)
        pooled.append(
            op.RoiAlign(
                feature,
                _columns(rois, 1, 5),
                op.Cast(op.Squeeze(_columns(rois, 0, 1), integers(1)), to=_INT64),
                output_height=int(pooled_height),
                output_width=int(pooled_width),
                sampling_ratio=max(int(sampling_ratio), 0),
                spatial_scale=float(scale),
                coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
            )
        )
        rows.append(of_level)
    if len(rows) == 1:
        return pooled[0]
    order = op.Concat(*rows, axis=0)
    count = op.Squeeze(op.Shape(order), integers(0))
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    back = op.ScatterElements(order, order, op.Range(zero, count, one), axis=0)
    return op.Gather(op.Concat(*pooled, axis=0), back, axis=0)


def _true() -> Any:
    return import_module("onnx").helper.make_tensor("true", _BOOL, (), [True])
