import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
Point = tuple[Fraction, Fraction]


def corners(box: list[float]) -> list[Point]:
    """The vertices of a box in positive (x, y) order, exact but for the sine and cosine."""
    x, y, width, height, degrees = (Fraction(number) for number in box)
    quarters, rest = divmod(degrees, 90)
    c, s = Fraction(math.cos(math.radians(rest))), Fraction(math.sin(math.radians(rest)))
    for _ in range(quarters % 4):
        c, s = -s, c
    halves = ((-width, -height), (width, -height), (width, height), (-width, height))
    return [(x + (u * c + v * s) / 2, y + (v * c - u * s) / 2) for u, v in halves]


def clip(polygon: list[Point], a: Point, b: Point) -> list[Point]:
    """The part of a convex polygon on the left of the line from a to b."""

    def side(p: Point) -> Fraction:
        return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])

    kept = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        before, after = side(p), side(q)
        if before >= 0:
            kept.append(p)
        if before * after < 0:
            t = before / (before - after)
            kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return kept


def area(polygon: list[Point]) -> Fraction:
    following = polygon[1:] + polygon[:1]
    products = (p[0] * q[1] - p[1] * q[0] for p, q in zip(polygon, following, strict=True))
    return sum(products, Fraction(0)) / 2


def oracle(box1: list[float], box2: list[float]) -> float:
    """The definition: clip one polygon by the other, in rational numbers."""
    if min(box1[2:4] + box2[2:4]) <= 0:
        return 0.0
    first, second = corners(box1), corners(box2)
    inter = first
    for a, b in zip(second, second[1:] + second[:1], strict=True):
        inter = clip(inter, a, b)
    shared = area(inter) if inter else Fraction(0)
    return float(shared / (area(first) + area(second) - shared))


def random_boxes(n: int, seed: int = 0, image: float = 100, side: float = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(n, 2, generator=generator) * image
    sides = torch.rand(n, 2, generator=generator) * side + 1
    degrees = torch.rand(n, 1, generator=generator) * 720 - 360
    return torch.cat([centres, sides, degrees], 1)


coordinate = st.one_of(st.integers(-8, 8).map(float), st.floats(-10, 10))
side = st.one_of(st.integers(1, 8).map(float), st.floats(0.001, 30), st.just(0.0))
angle = st.one_of(
    st.sampled_from([0.0, 30, 45, 60, 90, 135, 180, 270, 360, -90, -450]),
    st.floats(-720, 720),
    st.floats(-1e-7, 1e-7).map(lambda tiny: 45 + tiny),
)
box = st.tuples(coordinate, coordinate, side, side, angle).map(list)


@settings(max_examples=250, deadline=None)
@given(box, box)
def test_is_the_area_that_exact_clipping_finds(box1: list[float], box2: list[float]) -> None:
    boxes1, boxes2 = (torch.tensor([b], dtype=torch.float64) for b in (box1, box2))
    iou = d2_ops.box_iou_rotated(boxes1, boxes2)
    assert iou.item() == pytest.approx(oracle(box1, box2), abs=1e-12)
    assert d2_ops.box_iou_rotated(boxes2, boxes1).item() == pytest.approx(iou.item(), abs=1e-12)


nudge = st.one_of(st.just(0.0), st.floats(-1e-6, 1e-6), st.floats(-1e-14, 1e-14))


@settings(max_examples=150, deadline=None)
@given(box, st.tuples(nudge, nudge, nudge, nudge, nudge), st.integers(-2, 2))
def test_nearly_equal_boxes_are_no_special_case(
    box1: list[float], nudges: tuple[float, ...], turns: int
) -> None:
    box2 = [number + by for number, by in zip(box1, nudges, strict=True)]
    box2[4] += 180 * turns
    boxes1, boxes2 = (torch.tensor([b], dtype=torch.float64) for b in (box1, box2))
    iou = d2_ops.box_iou_rotated(boxes1, boxes2).item()
    # A coordinate's rounding shows in boxes a thousandth wide.
    assert iou == pytest.approx(oracle(box1, box2), abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 600), st.integers(0, 600), st.integers(0, 2**32), st.sampled_from(FLOATS))
def test_all_pairs_equal_each_pair_alone(n: int, m: int, seed: int, dtype: torch.dtype) -> None:
    boxes1 = random_boxes(n, seed, image=300).to(dtype)
    boxes2 = random_boxes(m, seed + 1, image=300).to(dtype)
    iou = d2_ops.box_iou_rotated(boxes1, boxes2)
    assert iou.shape == (n, m)
    assert iou.dtype == dtype
    for i, j in zip(range(0, n, 37), range(0, m, 29), strict=False):
        alone = d2_ops.box_iou_rotated(boxes1[i : i + 1], boxes2[j : j + 1])
        assert iou[i, j].equal(alone[0, 0])
    exact = d2_ops.box_iou_rotated(boxes1.double(), boxes2.double())
    rounded = exact.to(dtype) if dtype == torch.float64 else exact.float().to(dtype)
    assert iou.equal(rounded)


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["pairwise_iou_rotated"]
    iou = d2_ops.box_iou_rotated(values["boxes1"], values["boxes2"])
    torch.testing.assert_close(iou, values["layers"], rtol=0, atol=5e-5)


def test_upright_boxes_equal_the_plain_formula() -> None:
    boxes = random_boxes(200)
    boxes[:, 4] = 0
    low, high = boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2
    corner1 = torch.maximum(low[:, None], low[None])
    corner2 = torch.minimum(high[:, None], high[None])
    inter = (corner2 - corner1).clamp(min=0).prod(2)
    areas = boxes[:, 2] * boxes[:, 3]
    expected = inter / (areas[:, None] + areas[None] - inter)
    torch.testing.assert_close(d2_ops.box_iou_rotated(boxes, boxes), expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_box_covers_itself_however_it_is_written(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[50.0, 30, 8, 2, 0], [-5, 7, 1, 60, 33], [1, 1, 0.25, 512, -71]])
    turned = boxes.clone()
    turned[:, 4] += 180
    swapped = boxes[:, [0, 1, 3, 2, 4]]
    swapped[:, 4] -= 90
    for same in (boxes, turned, swapped):
        iou = d2_ops.box_iou_rotated(boxes.to(dtype), same.to(dtype)).diagonal()
        torch.testing.assert_close(iou, torch.ones(3, dtype=dtype), rtol=0, atol=1e-14)
        assert (iou <= 1).all()


def test_angles_turn_counter_clockwise_seen_with_y_down() -> None:
    leaning = torch.tensor([[0.0, 0, 10, 1, 45]])  # like a slash: up to the right
    ends = torch.tensor([[3.0, -3, 1, 1, 0], [3, 3, 1, 1, 0]])
    assert (d2_ops.box_iou_rotated(leaning, ends) > 0).tolist() == [[True, False]]


def test_boxes_that_touch_or_miss_overlap_exactly_nothing() -> None:
    square = torch.tensor([[0.0, 0, 2, 2, 0]])
    others = torch.tensor(
        [
            [2.0, 0, 2, 2, 0],
            [2, 2, 2, 2, 90],
            [0, 3, 4, 2, 180],
            [2, 2, 2.5, 2, 45],
            [9, 9, 9, 1, 45],
        ]
    )
    assert (d2_ops.box_iou_rotated(square, others) == 0).all()
    assert (d2_ops.box_iou_rotated(others, square) == 0).all()


def test_boxes_without_area_overlap_nothing_and_infinite_ones_are_nan() -> None:
    square = [0.0, 0, 2, 2, 0]
    empty = torch.tensor([[0.0, 0, 0, 2, 0], [0, 0, 2, 0, 30], [0, 0, -2, -2, 0], [0, 0, 2, -1, 0]])
    boxes = torch.cat([torch.tensor([square]), empty])
    assert d2_ops.box_iou_rotated(boxes, boxes).sum() == 1
    for column in range(5):
        for value in (math.nan, math.inf, -math.inf):
            bad = torch.tensor([square])
            bad[0, column] = value
            assert d2_ops.box_iou_rotated(boxes, bad).isnan().all()
            assert d2_ops.box_iou_rotated(bad, boxes).isnan().all()


def test_thin_boxes_far_from_the_origin_stay_exact() -> None:
    box1 = [1e6, -1e6, 1000.0, 0.001, 17.0]
    box2 = [1e6, -1e6, 0.001, 1000.0, 18.0]
    boxes1, boxes2 = (torch.tensor([b], dtype=torch.float64) for b in (box1, box2))
    iou = d2_ops.box_iou_rotated(boxes1, boxes2).item()
    assert iou == pytest.approx(oracle(box1, box2), abs=1e-12)


def test_tiny_and_huge_boxes_are_not_taken_for_empty() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 1, 10]], dtype=torch.float64)
    half = torch.tensor([[0.0, 0, 1, 1, 10]], dtype=torch.float64)
    scale = torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64)
    for power in (-40, 0, 40):
        by = scale * 10.0**power + torch.tensor([0.0, 0, 0, 0, 1]).double()
        assert d2_ops.box_iou_rotated(boxes * by, half * by).item() == pytest.approx(0.5)


def test_no_boxes_and_inputs_of_any_stride() -> None:
    boxes = random_boxes(7)
    assert d2_ops.box_iou_rotated(boxes[:0], boxes).shape == (0, 7)
    assert d2_ops.box_iou_rotated(boxes, boxes[:0]).shape == (7, 0)
    transposed = boxes.t().contiguous().t()
    assert not transposed.is_contiguous()
    expected = d2_ops.box_iou_rotated(boxes, boxes)
    assert d2_ops.box_iou_rotated(transposed, transposed).equal(expected)


def test_no_gradient_is_promised() -> None:
    boxes = random_boxes(3).requires_grad_()
    assert not d2_ops.box_iou_rotated(boxes, boxes).requires_grad


def test_autocast_changes_nothing() -> None:
    boxes = random_boxes(5)
    with torch.autocast("cpu", torch.bfloat16):
        iou = d2_ops.box_iou_rotated(boxes, boxes)
    assert iou.equal(d2_ops.box_iou_rotated(boxes, boxes))


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    boxes = random_boxes(900, image=600)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = d2_ops.box_iou_rotated(boxes, boxes)
        torch.set_num_threads(4)
        assert d2_ops.box_iou_rotated(boxes, boxes).equal(alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("error", "message", "boxes2"),
    [
        (TypeError, "boxes2 must be a floating tensor, got .*int64", torch.zeros(3, 5).long()),
        (TypeError, "boxes2 must have the dtype of boxes1", torch.zeros(3, 5).double()),
        (ValueError, r"boxes2 must have shape \(N, 5\), got \(3, 4\)", torch.zeros(3, 4)),
        (ValueError, "boxes2 is on meta but boxes1 on cpu", torch.zeros(3, 5, device="meta")),
    ],
)
def test_a_bad_argument_is_named(error: type[Exception], message: str, boxes2: Tensor) -> None:
    with pytest.raises(error, match=message):
        d2_ops.box_iou_rotated(torch.zeros(2, 5), boxes2)


def test_the_bare_operator_checks_its_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops.box_iou_rotated
    with pytest.raises(bare_error, match=r"boxes1 must have shape \(N, 5\)"):
        bare(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(bare_error, match="boxes2 must have the dtype of boxes1"):
        bare(torch.zeros(3, 5), torch.zeros(3, 5).half())


def test_opcheck() -> None:
    d2_ops.load_library()
    arguments = random_boxes(4), random_boxes(6, seed=1)
    torch.library.opcheck(torch.ops.d2_ops.box_iou_rotated.default, arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype) -> None:
    boxes1, boxes2 = random_boxes(300, image=400).to(dtype), random_boxes(70, 1, 400).to(dtype)
    boxes1[3, 2], boxes1[4, 0], boxes2[5, 4] = 0, math.nan, math.inf
    for first, second in ((boxes1, boxes2), (boxes1[:0], boxes2), (boxes1, boxes1)):
        iou = d2_ops.box_iou_rotated(first.to(device), second.to(device))
        expected = d2_ops.box_iou_rotated(first, second)
        torch.testing.assert_close(iou.cpu(), expected, rtol=0, atol=0, equal_nan=True)
