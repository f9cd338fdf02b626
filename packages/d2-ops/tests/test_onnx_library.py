"""In ONNX Runtime the operators give what those of torch give."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

onnx = pytest.importorskip("onnx", reason="graphs are made by the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the operators")

_TYPES = {torch.float32: 1, torch.int64: 7, torch.float64: 11}
_sessions: dict[str, Any] = {}

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 1000)
counts = st.sampled_from([0, 1, 2, 30, 150])


def session_of(name: str, inputs: Sequence[Tensor], output: int, **attributes: Any) -> Any:
    """A session of a graph of one node, whose sizes may all change."""
    kinds = [(tensor.dtype, tensor.dim()) for tensor in inputs]
    key = f"{name} {kinds} {output} {attributes}"
    if key not in _sessions:
        helper = onnx.helper
        labels = [f"input{index}" for index in range(len(inputs))]
        node = helper.make_node(name, labels, ["output"], domain="d2_ops", **attributes)
        values = [
            helper.make_tensor_value_info(label, _TYPES[dtype], [None] * rank)
            for label, (dtype, rank) in zip(labels, kinds, strict=True)
        ]
        result = helper.make_tensor_value_info("output", output, None)
        domains = [helper.make_opsetid("", 18), helper.make_opsetid("d2_ops", 1)]
        graph = helper.make_graph([node], "graph", values, [result])
        model = helper.make_model(graph, opset_imports=domains, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails arrives as an exception
        options.register_custom_ops_library(str(d2_ops.onnx_library()))
        _sessions[key] = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    return _sessions[key]


def run(name: str, inputs: Sequence[Tensor], output: int = 1, **attributes: Any) -> Tensor:
    session = session_of(name, inputs, output, **attributes)
    given = {f"input{index}": tensor.numpy() for index, tensor in enumerate(inputs)}
    return torch.from_numpy(np.array(session.run(None, given)[0]))


def rotated_boxes(count: int, generator: torch.Generator) -> Tensor:
    place = 60 * torch.rand(count, 2, generator=generator)
    sides = 1 + 30 * torch.rand(count, 2, generator=generator)
    degrees = 720 * torch.rand(count, 1, generator=generator) - 360
    boxes = torch.cat([place, sides, degrees], 1)
    return boxes.round() if count % 2 else boxes  # of whole numbers some overlap exactly


def assert_equal(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)


@few
@given(count=counts, threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7]), seed=seeds)
def test_suppression_keeps_the_same_boxes(count: int, threshold: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes = rotated_boxes(count, generator)
    scores = torch.rand(count, generator=generator).round(decimals=1)
    classes = torch.randint(-1, 3, (count,), generator=generator)
    scalar = torch.tensor(threshold, dtype=torch.float64)
    kept = run("NmsRotated", [boxes, scores, scalar], output=7)
    assert_equal(kept, d2_ops.nms_rotated(boxes, scores, threshold))
    kept = run("NmsRotated", [boxes, scores, scalar, classes], output=7)
    assert_equal(kept, d2_ops.batched_nms_rotated(boxes, scores, classes, threshold))


def test_a_threshold_that_float32_does_not_hold_is_kept_exactly() -> None:
    boxes = torch.tensor([[5.0, 5, 10, 10, 0], [5, 5, 10, 7, 0]])  # their IoU is 0.7
    scores = torch.tensor([0.9, 0.8])
    for threshold in (0.7, float(np.float32(0.7))):
        scalar = torch.tensor(threshold, dtype=torch.float64)
        kept = run("NmsRotated", [boxes, scores, scalar], output=7)
        assert_equal(kept, d2_ops.nms_rotated(boxes, scores, threshold))


@few
@given(rows=counts, columns=counts, seed=seeds)
def test_overlaps_are_the_same(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pair = [rotated_boxes(count, generator) for count in (rows, columns)]
    assert_equal(run("BoxIouRotated", pair), d2_ops.box_iou_rotated(*pair))


@few
@given(count=counts, classes=st.integers(0, 4), seed=seeds)
def test_decoded_boxes_are_the_same(count: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes = rotated_boxes(count, generator)
    deltas = 3 * torch.randn(count, 5 * classes, generator=generator)
    weights, clamp = (10.0, 10.0, 5.0, 5.0, 0.7), 4.135
    got = run("DecodeRotatedBoxes", [deltas, boxes], weights=list(weights), scale_clamp=clamp)
    assert_equal(got, d2_ops.decode_rotated_boxes(deltas, boxes, weights, clamp))


@few
@given(
    count=counts,
    images=st.integers(1, 3),
    channels=st.sampled_from([0, 1, 17]),
    size=st.sampled_from([(1, 1), (2, 5)]),
    ratio=st.sampled_from([0, 2]),
    maps=st.integers(1, 3),
    seed=seeds,
)
def test_pooled_regions_are_the_same(
    count: int,
    images: int,
    channels: int,
    size: tuple[int, int],
    ratio: int,
    maps: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, images, (count, 1), generator=generator).float()
    boxes = torch.cat([index, rotated_boxes(count, generator)], 1)
    if count > 2:
        boxes[0, 1] = torch.nan
    scales = [0.5**level for level in range(maps)]
    sides = [max(1, (seed % 60) >> level) for level in range(maps)]
    features = [torch.rand(images, channels, h, 40, generator=generator) for h in sides]
    levels = torch.randint(0, maps, (count,), generator=generator)
    got = run(
        "RoiAlignRotated",
        [boxes, levels, *features],
        spatial_scales=scales,
        output_size=size,
        sampling_ratio=ratio,
    )
    wanted = d2_ops.multilevel_roi_align_rotated(
        features, boxes, size, scales, ratio, levels=levels
    )
    assert_equal(got, wanted)


@few
@given(
    images=st.sampled_from([0, 1, 3]),
    height=st.integers(3, 20),
    width=st.integers(5, 20),
    modulated=st.booleans(),
    groups=st.sampled_from([1, 3]),
    deformable_groups=st.sampled_from([1, 2]),
    stride=st.sampled_from([(1, 1), (2, 1)]),
    seed=seeds,
)
def test_columns_times_weights_are_the_convolution(
    images: int,
    height: int,
    width: int,
    modulated: bool,
    groups: int,
    deformable_groups: int,
    stride: tuple[int, int],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    padding, dilation, kernel = (1, 2), (1, 2), (3, 2)
    out_height = (height + 2 - 3) // stride[0] + 1
    out_width = (width + 4 - 3) // stride[1] + 1
    planes = images, 6 * deformable_groups, out_height, out_width
    maps = torch.rand(images, 12, height, width, generator=generator)
    offset = 4 * torch.randn(planes[0], 2 * planes[1], *planes[2:], generator=generator)
    mask = torch.rand(planes, generator=generator) if modulated else None
    weight = torch.randn(9, 12 // groups, *kernel, generator=generator)
    last = maps.permute(0, 2, 3, 1).contiguous()
    columns = run(
        "DeformColumns",
        [last, offset] if mask is None else [last, offset, mask],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    matrix = weight.reshape(groups, 9 // groups, 12 // groups, 6).permute(0, 3, 2, 1)
    product = columns @ matrix.reshape(groups, 6 * 12 // groups, 9 // groups)
    got = product.transpose(2, 3).reshape(images, 9, out_height, out_width)
    wanted = d2_ops.deform_conv2d(maps, offset, weight, None, stride, padding, dilation, mask)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-4)


_CODING: dict[str, Any] = {"weights": [1.0] * 5, "scale_clamp": 4.0}
_STEPS: dict[str, Any] = {"kernel": [3, 3], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}


@pytest.mark.parametrize(
    ("name", "shapes", "attributes", "said"),
    [
        ("BoxIouRotated", [(2, 5), (2, 4)], {}, r"boxes2 must have shape \(N, 5\)"),
        ("DecodeRotatedBoxes", [(3, 5), (2, 5)], _CODING, r"deltas must have shape \(N, k \* 5\)"),
        (
            "DecodeRotatedBoxes",
            [(2, 5), (2, 5)],
            _CODING | {"weights": [1.0] * 4},
            "weights must have 5 values, got 4",
        ),
        ("DecodeRotatedBoxes", [(2, 5), (2, 5)], {"weights": [1.0] * 5}, "scale_clamp"),
        (
            "DeformColumns",
            [(1, 5, 5, 4), (1, 18, 9, 9)],
            _STEPS | {"groups": 1},
            "offset must have 1 images of the output's 3 x 3 pixels, got 1 of 9 x 9",
        ),
        ("DeformColumns", [(1, 5, 5, 4), (1, 18, 3, 3)], _STEPS | {"groups": 3}, "into 3 groups"),
    ],
)
def test_what_does_not_fit_is_named(
    name: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Exception, match=said):
        run(name, [torch.zeros(shape) for shape in shapes], **attributes)


def test_an_image_or_a_level_that_is_not_there_is_named() -> None:
    settings_ = {"spatial_scales": [1.0], "output_size": [2, 2], "sampling_ratio": 1}
    features = torch.zeros(1, 1, 4, 4)
    boxes = torch.tensor([[0.0, 2, 2, 2, 2, 0]])
    for bad, levels, said in (
        (boxes + torch.eye(1, 6), torch.zeros(1, dtype=torch.int64), r"boxes\[0, 0\] is 1, not"),
        (boxes, torch.ones(1, dtype=torch.int64), r"levels\[0\] is 1, not the index of one of 1"),
    ):
        with pytest.raises(Exception, match=said):
            run("RoiAlignRotated", [bad, levels, features], **settings_)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    boxes = rotated_boxes(3000, torch.Generator().manual_seed(0))
    scores = torch.rand(3000, generator=torch.Generator().manual_seed(1))
    kept = run("NmsRotated", [boxes, scores, torch.tensor(0.3, dtype=torch.float64)], output=7)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert_equal(kept, d2_ops.nms_rotated(boxes, scores, 0.3))
    finally:
        torch.set_num_threads(before)


def test_the_library_is_found_and_runs_without_torch() -> None:
    code = """
import sys
import d2_ops, numpy, onnx.helper as helper, onnxruntime
node = helper.make_node("BoxIouRotated", ["a", "b"], ["c"], domain="d2_ops")
a, b = (helper.make_tensor_value_info(name, 1, [None, 5]) for name in "ab")
graph = helper.make_graph([node], "graph", [a, b], [helper.make_tensor_value_info("c", 1, None)])
domains = [helper.make_opsetid("", 18), helper.make_opsetid("d2_ops", 1)]
model = helper.make_model(graph, opset_imports=domains, ir_version=10)
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(str(d2_ops.onnx_library()))
session = onnxruntime.InferenceSession(model.SerializeToString(), options)
box = numpy.float32([[4, 4, 2, 2, 30]])
print(session.run(None, {"a": box, "b": box})[0], "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["[[1.]]", "False"]


def test_a_build_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2_ops._onnx_library.path_of", lambda library: None)
    with pytest.raises(ImportError, match=r"no compiled _onnx_ops for this machine.*pip install"):
        d2_ops.onnx_library()
