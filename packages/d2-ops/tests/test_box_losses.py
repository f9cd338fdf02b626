import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

BOX_LOSSES: list[Callable[..., Tensor]] = [d2_ops.giou_loss, d2_ops.diou_loss, d2_ops.ciou_loss]
EPS = 1e-7


def oracle(loss: Callable[..., Tensor], a: list[float], b: list[float]) -> float:
    """The definitions, of one pair."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    (w1, h1), (w2, h2) = ((box[2] - box[0], box[3] - box[1]) for box in (a, b))
    union = w1 * h1 + w2 * h2 - shared
    iou = shared / (union + EPS)
    hull_width, hull_height = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    if loss is d2_ops.giou_loss:
        hull = hull_width * hull_height
        return 1 - iou + (hull - union) / (hull + EPS)
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    distance = 1 - iou + (dx**2 + dy**2) / (hull_width**2 + hull_height**2 + EPS)
    if loss is d2_ops.diou_loss:
        return distance
    v = 4 / math.pi**2 * (math.atan2(w1, h1) - math.atan2(w2, h2)) ** 2
    return distance + v * v / (1 - iou + v + EPS)


def random_boxes(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    sides = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50 + 1
    return torch.cat([low, low + sides], 1)


length = st.one_of(st.integers(0, 8).map(float), st.floats(0.125, 30))
box = st.builds(
    lambda x, y, width, height: [x, y, x + width, y + height],
    st.floats(-10, 10),
    st.floats(-10, 10),
    length,
    length,
)


@pytest.mark.parametrize("loss", BOX_LOSSES)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(box, box), max_size=5))
def test_every_pair_has_its_definition(
    loss: Callable[..., Tensor], pairs: list[tuple[list[float], list[float]]]
) -> None:
    boxes1, boxes2 = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2, 4).unbind(1)
    expected = torch.tensor([oracle(loss, *pair) for pair in pairs], dtype=torch.float64)
    torch.testing.assert_close(loss(boxes1, boxes2), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(loss(boxes1, boxes2, reduction="sum"), expected.sum())
    mean = expected.sum() / max(len(pairs), 1)
    torch.testing.assert_close(loss(boxes1, boxes2, reduction="mean"), mean)


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_one_pair_may_come_without_rows(loss: Callable[..., Tensor]) -> None:
    boxes1, boxes2 = random_boxes(3), random_boxes(3, 1)
    alone = loss(boxes1[1], boxes2[1])
    assert alone.shape == ()
    torch.testing.assert_close(alone, loss(boxes1, boxes2)[1])


def test_torchvision_agrees() -> None:
    ops = pytest.importorskip("torchvision").ops
    peers = ops.generalized_box_iou_loss, ops.distance_box_iou_loss, ops.complete_box_iou_loss
    boxes1, boxes2 = random_boxes(50), random_boxes(50, 1)
    for loss, peer in zip(BOX_LOSSES, peers, strict=True):
        for reduction in ("none", "mean", "sum"):
            ours, theirs = (boxes1.clone().requires_grad_() for _ in range(2))
            got, expected = loss(ours, boxes2, reduction), peer(theirs, boxes2, reduction)
            torch.testing.assert_close(got, expected)
            got.sum().backward()
            expected.sum().backward()
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["losses"]
    for loss, name in ((d2_ops.diou_loss, "diou"), (d2_ops.ciou_loss, "ciou")):
        for reduction in ("none", "sum", "mean"):
            got = loss(values["b1"], values["b2"], reduction=reduction)
            torch.testing.assert_close(got, values[name][reduction], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", [d2_ops.giou_loss, d2_ops.diou_loss])
def test_gradients_are_those_of_finite_differences(loss: Callable[..., Tensor]) -> None:
    boxes1, boxes2 = random_boxes(5).requires_grad_(), random_boxes(5, 1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (boxes1, boxes2))


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_boxes_without_area_have_finite_losses_and_gradients(loss: Callable[..., Tensor]) -> None:
    boxes = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 5], [0, 0, 5, 0]], requires_grad=True)
    losses = loss(boxes, torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 5], [2, 2, 4, 4]]))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_areas_do_not_overflow_half_precision(loss: Callable[..., Tensor]) -> None:
    boxes1, boxes2 = random_boxes(9).half() * 20, random_boxes(9, 1).half() * 20
    losses = loss(boxes1, boxes2)
    assert losses.dtype == torch.float32
    assert losses.equal(loss(boxes1.float(), boxes2.float()))


@pytest.mark.parametrize("loss", BOX_LOSSES)
@pytest.mark.parametrize(
    ("error", "message", "boxes2", "reduction"),
    [
        (TypeError, "boxes2 must be a floating tensor", torch.zeros(2, 4).long(), "none"),
        (ValueError, r"shape of boxes1, \(2, 4\), got \(3, 4\)", torch.zeros(3, 4), "none"),
        (ValueError, "boxes2 is on meta", torch.zeros(2, 4, device="meta"), "none"),
        (ValueError, "reduction must be .*got 'avg'", torch.zeros(2, 4), "avg"),
    ],
)
def test_a_bad_argument_is_named(
    loss: Callable[..., Tensor],
    error: type[Exception],
    message: str,
    boxes2: Tensor,
    reduction: str,
) -> None:
    with pytest.raises(error, match=message):
        loss(torch.zeros(2, 4), boxes2, reduction)
    with pytest.raises(ValueError, match=r"boxes1 must have shape \(N, 4\) or \(4,\)"):
        loss(torch.zeros(2, 5), torch.zeros(2, 5))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), max_size=10),
    st.sampled_from([0.0, 1e-6, 0.1, 1.0, 20.0]),
)
def test_smooth_l1_has_its_definition(pairs: list[tuple[float, float]], beta: float) -> None:
    value, target = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).unbind(1)

    def definition(a: float, b: float) -> float:
        x = abs(a - b)
        if beta < 1e-5:
            return x
        return 0.5 * x**2 / beta if x < beta else x - 0.5 * beta

    expected = torch.tensor([definition(*pair) for pair in pairs], dtype=torch.float64)
    torch.testing.assert_close(d2_ops.smooth_l1_loss(value, target, beta), expected)
    total = d2_ops.smooth_l1_loss(value, target, beta, "sum")
    torch.testing.assert_close(total, expected.sum())


def test_smooth_l1_agrees_with_torch_and_has_its_gradients() -> None:
    value, target = torch.randn(2, 30, dtype=torch.float64).unbind(0)
    for beta in (0.5, 1.0):
        peer = torch.nn.functional.smooth_l1_loss(value, target, beta=beta)
        torch.testing.assert_close(d2_ops.smooth_l1_loss(value, target, beta, "mean"), peer)
    value.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: d2_ops.smooth_l1_loss(x, target, 0.5), value)
    assert torch.autograd.gradcheck(lambda x: d2_ops.smooth_l1_loss(x, target, 0.0), value)


def test_bad_arguments_of_smooth_l1_are_named() -> None:
    three = torch.zeros(3)
    with pytest.raises(ValueError, match="beta must not be negative, got -1"):
        d2_ops.smooth_l1_loss(three, three, -1)
    with pytest.raises(ValueError, match="beta must not be negative, got nan"):
        d2_ops.smooth_l1_loss(three, three, math.nan)
    with pytest.raises(ValueError, match="target must have the shape of input"):
        d2_ops.smooth_l1_loss(three, torch.zeros(3, 1), 1)
    with pytest.raises(ValueError, match="reduction"):
        d2_ops.smooth_l1_loss(three, three, 1, "max")  # type: ignore[arg-type]  # wrong on purpose


def test_compile_in_one_graph() -> None:
    def total(boxes1: Tensor, boxes2: Tensor) -> Tensor:
        losses = [loss(boxes1, boxes2, "mean") for loss in BOX_LOSSES]
        return sum(losses, d2_ops.smooth_l1_loss(boxes1, boxes2, 0.1, "mean"))

    compiled = torch.compile(total, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (4, 7):
        boxes = random_boxes(count), random_boxes(count, 1)
        torch.testing.assert_close(compiled(*boxes), total(*boxes))
