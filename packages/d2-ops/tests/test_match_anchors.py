import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
RPN = ([0.3, 0.7], [0, -1, 1], True)


def oracle(
    gt_boxes: Tensor,
    anchors: Tensor,
    thresholds: list[float],
    labels: list[int],
    allow_low_quality_matches: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the whole matrix."""
    overlaps = d2_ops.pairwise_iou(gt_boxes, anchors)
    if len(gt_boxes) == 0:
        nothing = torch.zeros(len(anchors), dtype=torch.int64)
        return nothing, torch.full_like(nothing, labels[0]).to(torch.int8), nothing.to(overlaps)
    quality, index = overlaps.max(0)
    bounds = torch.tensor(thresholds, dtype=overlaps.dtype)
    found = torch.tensor(labels, dtype=torch.int8)[torch.bucketize(quality, bounds, right=True)]
    if allow_low_quality_matches and len(anchors) > 0:
        found[(overlaps == overlaps.amax(1, keepdim=True)).any(0)] = 1
    return index, found, quality


def assert_matches(gt_boxes: Tensor, anchors: Tensor, *settings: object) -> None:
    ours = d2_ops.match_anchors(gt_boxes, anchors, *RPN)  # type: ignore[arg-type]  # spelled out by callers
    expected = oracle(gt_boxes, anchors, *RPN)  # type: ignore[arg-type]  # the same
    for got, wanted in zip(ours, expected, strict=True):
        assert got.dtype == wanted.dtype
        torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)


def random_boxes(n: int, seed: int = 0, image: float = 800, side: float = 112) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=generator) * image
    return torch.cat([low, low + torch.rand(n, 2, generator=generator) * side + 16], 1)


def grid_anchors(height: int = 30, width: int = 40, stride: int = 16) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([xs, ys, xs, ys], 2).reshape(-1, 1, 4) * float(stride)
    shapes = torch.tensor([[-45.0, -22.5, 45, 22.5], [-32, -32, 32, 32], [-22.5, -45, 22.5, 45]])
    return (centres + shapes).reshape(-1, 4)


# Few distinct coordinates: ties, touching and empty boxes are frequent.
box = st.builds(
    lambda x, y, width, height: [x, y, x + width, y + height],
    *[st.integers(0, 6).map(float)] * 2,
    *[st.integers(0, 4).map(float)] * 2,
)
bins = st.sampled_from(
    [([0.5], [0, 1]), ([0.3, 0.7], [0, -1, 1]), ([0.25, 0.25, 1.0], [-1, 0, 1, 1])]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(box, max_size=6), st.lists(box, max_size=20), bins, st.booleans())
def test_ties_are_settled_as_in_the_matrix(
    gt_boxes: list[list[float]],
    anchors: list[list[float]],
    bins: tuple[list[float], list[int]],
    allow_low_quality_matches: bool,
) -> None:
    first = torch.tensor(gt_boxes).reshape(-1, 4)
    second = torch.tensor(anchors).reshape(-1, 4)
    assert_matches(first, second, *bins, allow_low_quality_matches)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 30), st.integers(0, 2000), st.integers(0, 2**32), st.booleans())
def test_any_number_of_boxes(m: int, n: int, seed: int, low_quality: bool) -> None:
    assert_matches(random_boxes(m, seed), random_boxes(n, seed + 1), *RPN[:2], low_quality)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [1, 20, 300])
def test_anchors_on_a_grid(dtype: torch.dtype, count: int) -> None:
    assert_matches(random_boxes(count).to(dtype), grid_anchors().to(dtype), *RPN)


def test_many_tiles_and_threads() -> None:
    gt_boxes, anchors = random_boxes(25), grid_anchors(120, 160, 5)
    threads = torch.get_num_threads()
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            assert_matches(gt_boxes, anchors, *RPN)
            assert_matches(gt_boxes, anchors[torch.randperm(len(anchors))], *RPN)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_single(dtype: torch.dtype) -> None:
    gt_boxes, anchors = random_boxes(9).to(dtype), random_boxes(300, 1).to(dtype)
    ours = d2_ops.match_anchors(gt_boxes, anchors, *RPN)
    expected = d2_ops.match_anchors(gt_boxes.float(), anchors.float(), *RPN)
    for got, wanted in zip(ours, expected, strict=True):
        assert got.equal(wanted)


def test_ground_truth_that_nothing_overlaps_labels_all() -> None:
    anchors = grid_anchors()
    far = torch.tensor([[9e3, 9e3, 9.1e3, 9.1e3]])
    assert (d2_ops.match_anchors(far, anchors, *RPN).labels == 1).all()
    assert (d2_ops.match_anchors(far, anchors, *RPN[:2]).labels == 0).all()
    assert_matches(torch.cat([random_boxes(3), far]), anchors, *RPN)


def test_no_ground_truth_is_background() -> None:
    matches = d2_ops.match_anchors(torch.zeros(0, 4), grid_anchors(), [0.5], [-1, 1], True)
    assert (matches.matched_idxs == 0).all()
    assert (matches.labels == -1).all()
    assert (matches.quality == 0).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(4))
def test_boxes_that_are_not_finite_behave_as_in_the_matrix(value: float, column: int) -> None:
    gt_boxes, anchors = random_boxes(5), grid_anchors()
    bad_gt, bad_anchors = gt_boxes.clone(), anchors.clone()
    bad_gt[2, column] = value
    bad_gt[4, (column + 1) % 4] = value
    bad_anchors[700, column] = value
    for first, second in ((bad_gt, anchors), (gt_boxes, bad_anchors), (bad_gt, bad_anchors)):
        assert_matches(first, second, *RPN)


def test_memory_is_allocated_for_the_anchors_alone(
    allocated_bytes: Callable[[Callable[[], object]], int],
) -> None:
    few, many, anchors = random_boxes(2), random_boxes(200), random_boxes(3000, 1)
    d2_ops.match_anchors(few, anchors, *RPN)  # loads the operator
    used = [
        allocated_bytes(lambda boxes=boxes: d2_ops.match_anchors(boxes, anchors, *RPN))
        for boxes in (few, many)
    ]
    assert used == [3000 * (8 + 1 + anchors.element_size())] * 2


def test_inputs_of_any_stride() -> None:
    gt_boxes, anchors = random_boxes(7), grid_anchors()
    strided = d2_ops.match_anchors(gt_boxes.t().contiguous().t(), anchors.flip(0).flip(0), *RPN)
    for got, wanted in zip(strided, d2_ops.match_anchors(gt_boxes, anchors, *RPN), strict=True):
        assert got.equal(wanted)


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [
        ([], [0]),
        ([0.0], [0, 1]),
        ([-0.5], [0, 1]),
        ([0.7, 0.3], [0, -1, 1]),
        ([math.nan], [0, 1]),
        ([0.3, math.nan], [0, -1, 1]),
        ([0.5] * 17, [0] * 18),
        ([0.5], [0]),
        ([0.5], [0, 2]),
    ],
)
def test_bad_thresholds_and_labels_are_refused(thresholds: list[float], labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"thresholds|labels"):
        d2_ops.match_anchors(torch.zeros(1, 4), torch.zeros(2, 4), thresholds, labels)


@pytest.mark.parametrize(
    ("error", "message", "gt_boxes"),
    [
        (TypeError, "gt_boxes must be a floating tensor", torch.zeros(3, 4).long()),
        (TypeError, "gt_boxes must have the dtype of anchors", torch.zeros(3, 4).double()),
        (ValueError, r"gt_boxes must have shape \(N, 4\), got \(3, 5\)", torch.zeros(3, 5)),
        (ValueError, "gt_boxes is on meta but anchors on cpu", torch.zeros(3, 4, device="meta")),
    ],
)
def test_a_bad_argument_is_named(error: type[Exception], message: str, gt_boxes: Tensor) -> None:
    with pytest.raises(error, match=message):
        d2_ops.match_anchors(gt_boxes, torch.zeros(2, 4), *RPN)


def test_the_bare_operator_checks_its_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops.match_anchors
    boxes = torch.zeros(2, 4)
    for thresholds, labels in (([0.5], [0]), ([0.7, 0.3], [0, -1, 1]), ([math.nan], [0, 1])):
        with pytest.raises(bare_error, match=r"thresholds|labels"):
            bare(boxes, boxes, thresholds, labels, True)
    with pytest.raises(bare_error, match="not an int8"):
        bare(boxes, boxes, [0.5], [0, 1000], True)
    with pytest.raises(bare_error, match=r"gt_boxes must have shape \(N, 4\)"):
        bare(torch.zeros(2, 5), boxes, [0.5], [0, 1], True)


def test_opcheck() -> None:
    d2_ops.load_library()
    operator = torch.ops.d2_ops.match_anchors.default
    for dtype in (torch.float32, torch.float16):
        boxes = random_boxes(3).to(dtype), random_boxes(9, 1).to(dtype)
        torch.library.opcheck(operator, (*boxes, *RPN))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    class Match(torch.nn.Module):
        def forward(self, gt_boxes: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
            matches = d2_ops.match_anchors(gt_boxes, anchors * 2, *RPN)
            return gt_boxes[matches.matched_idxs], matches.labels

    module = Match()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    dynamic = ({0: torch.export.Dim("m", min=2)}, {0: torch.export.Dim("n", min=2)})
    arguments = random_boxes(3), random_boxes(50, 1)
    program = torch.export.export(module, arguments, dynamic_shapes=dynamic)
    for m, n in ((3, 50), (5, 80)):
        boxes = random_boxes(m), random_boxes(n, 1)
        for found in (compiled(*boxes), program.module()(*boxes)):
            for got, wanted in zip(found, module(*boxes), strict=True):
                assert got.equal(wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("low_quality", [True, False])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype, low_quality: bool) -> None:
    gt_boxes, anchors = random_boxes(40).to(dtype), grid_anchors().to(dtype)
    spoiled = gt_boxes.clone()
    spoiled[3, 1], spoiled[5, 0] = math.nan, -math.inf
    for first in (gt_boxes, gt_boxes[:1], gt_boxes[:0], spoiled):
        ours = d2_ops.match_anchors(first.to(device), anchors.to(device), *RPN[:2], low_quality)
        expected = d2_ops.match_anchors(first, anchors, *RPN[:2], low_quality)
        for got, wanted in zip(ours, expected, strict=True):
            torch.testing.assert_close(got.cpu(), wanted, rtol=0, atol=0, equal_nan=True)
