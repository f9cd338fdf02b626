"""Losses on paired boxes against their formulas in float64, and which pairs count."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformRotated,
    box_regression_loss,
    dense_box_regression_loss,
)
from d2_modeling.losses import (
    ciou_loss,
    diou_loss,
    giou_loss,
    loss_weights,
    summed_where,
)
from d2_structures import Boxes

Draw = Callable[..., Tensor]
Box = list[float]
KINDS = ["smooth_l1", "giou", "diou", "ciou"]
OVERLAP_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}
TRANSFORM = Box2BoxTransform((2.0, 2.0, 1.0, 1.0))


def iou(a: Box, b: Box) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    return width * height / union


def distance_term(a: Box, b: Box) -> float:
    """Distance of the centres over the diagonal around both, squared."""
    apart = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in range(2)]
    hull = [max(a[i + 2], b[i + 2]) - min(a[i], b[i]) for i in range(2)]
    return math.hypot(*apart) ** 2 / math.hypot(*hull) ** 2


def shape_term(a: Box, b: Box) -> float:
    """Difference of the angles of the diagonals, squared, where a right angle is 1."""
    angles = [math.atan2(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
    return ((angles[0] - angles[1]) / (math.pi / 2)) ** 2


def giou_by_hand(a: Box, b: Box) -> float:
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    union = area / (1 + iou(a, b))
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return 1 - iou(a, b) + (hull - union) / hull


def diou_by_hand(a: Box, b: Box) -> float:
    return 1 - iou(a, b) + distance_term(a, b)


def ciou_factor(a: Box, b: Box) -> float:
    return shape_term(a, b) / (1 - iou(a, b) + shape_term(a, b))


def ciou_by_hand(a: Box, b: Box) -> float:
    return diou_by_hand(a, b) + ciou_factor(a, b) * shape_term(a, b)


BY_HAND = {"giou": giou_by_hand, "diou": diou_by_hand, "ciou": ciou_by_hand}


@pytest.mark.parametrize("kind", ["diou", "ciou"])
@given(st.integers(0, 8), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_losses_of_overlap_are_those_of_each_pair(
    random_boxes: Draw, kind: str, count: int, seed: int
) -> None:
    first, second = (random_boxes(count, seed + place, 30.0).double() for place in range(2))
    got = OVERLAP_LOSSES[kind](first, second)
    wanted = [BY_HAND[kind](a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert got.tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", OVERLAP_LOSSES)
def test_losses_of_overlap_know_neither_place_nor_scale_nor_axis(
    kind: str, random_boxes: Draw
) -> None:
    loss = OVERLAP_LOSSES[kind]
    first, second = random_boxes(12, 0, 30.0).double(), random_boxes(12, 1, 30.0).double()
    wanted = loss(first, second)
    torch.testing.assert_close(loss(first * 4 - 50, second * 4 - 50), wanted, rtol=1e-6, atol=1e-8)
    swapped = [box[:, [1, 0, 3, 2]] for box in (first, second)]
    torch.testing.assert_close(loss(*swapped), wanted)
    torch.testing.assert_close(loss(second, first), wanted)


@pytest.mark.parametrize("kind", OVERLAP_LOSSES)
def test_boxes_apart_are_pulled_together(kind: str) -> None:
    box = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64, requires_grad=True)
    OVERLAP_LOSSES[kind](box, torch.tensor([[30.0, 0, 40, 10]]).double(), "sum").backward()
    assert box.grad is not None
    assert box.grad[0, 2] < 0  # it falls as the right side goes to the right


def test_the_factor_of_the_shape_is_a_constant_of_the_gradient(random_boxes: Draw) -> None:
    first, second = random_boxes(6, 0, 30.0).double(), random_boxes(6, 5, 30.0).double()
    variable = first.clone().requires_grad_()
    ciou_loss(variable, second, "sum").backward()
    assert variable.grad is not None
    step = 1e-5
    for row, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        factor = ciou_factor(a, b)
        for column in range(4):
            values = []
            for sign in (1, -1):
                moved = [*a]
                moved[column] += sign * step
                values.append(diou_by_hand(moved, b) + factor * shape_term(moved, b))
            slope = (values[0] - values[1]) / (2 * step)
            assert variable.grad[row, column].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def loss_of(
    kind: str,
    boxes: Tensor,
    deltas: Tensor,
    gt: Tensor,
    beta: float = 0.1,
    counted: Tensor | None = None,
    **options: Any,
) -> Tensor:
    loss = partial(
        box_regression_loss,
        **{"box2box_transform": TRANSFORM, **options},
        box_reg_loss_type=kind,
        smooth_l1_beta=beta,
    )
    if counted is None:
        return loss(boxes, deltas, gt)
    with pytest.MonkeyPatch.context() as patch:  # as on a device, where all rows are computed
        patch.setattr("d2_modeling.host_waits._is_read_at_once", lambda device: False)
        return summed_where(counted, loss, boxes, deltas, gt)


@pytest.mark.parametrize("kind", OVERLAP_LOSSES)
@given(st.integers(0, 6), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_overlap_is_taken_of_decoded_boxes(
    random_boxes: Draw, kind: str, count: int, seed: int
) -> None:
    boxes, gt = random_boxes(count, seed).double(), random_boxes(count, seed + 1).double()
    deltas = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)).double()
    decoded = TRANSFORM.apply_deltas(deltas, boxes)
    wanted = sum(BY_HAND[kind](a, b) for a, b in zip(decoded.tolist(), gt.tolist(), strict=True))
    assert loss_of(kind, boxes, deltas, gt).item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert loss_of(kind, boxes, deltas, gt, beta=9.0).equal(loss_of(kind, boxes, deltas, gt))


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou"])
def test_the_gradient_of_deltas_is_that_of_finite_differences(
    kind: str, random_boxes: Draw
) -> None:
    boxes, gt = random_boxes(4).double(), random_boxes(4, 1).double()
    deltas = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(lambda x: loss_of(kind, boxes, x, gt), deltas.requires_grad_())


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rotated_boxes_are_regressed_by_their_five_deltas(
    random_rotated_boxes: Draw, beta: float
) -> None:
    transform = Box2BoxTransformRotated((2.0, 2.0, 1.0, 1.0, 3.0))
    boxes, gt = random_rotated_boxes(7).double(), random_rotated_boxes(7, 1).double()
    deltas = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).double()
    errors = (deltas - transform.get_deltas(boxes, gt)).abs().flatten().tolist()
    wanted = sum(e * e / 2 / beta if e < beta else e - beta / 2 for e in errors)
    got = loss_of("smooth_l1", boxes, deltas, gt, beta, box2box_transform=transform)
    assert got.item() == pytest.approx(wanted)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.booleans(), max_size=8), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_pairs_that_do_not_count_are_as_if_they_were_not_there(
    random_boxes: Draw, kind: str, counted: list[bool], seed: int
) -> None:
    count, mask = len(counted), torch.tensor(counted, dtype=torch.bool)
    boxes, gt = random_boxes(count, seed).double(), random_boxes(count, seed + 1).double()
    deltas = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)).double()
    alone = deltas[mask].requires_grad_()
    wanted = loss_of(kind, boxes[mask], alone, gt[mask])
    wanted.backward()
    deltas[~mask] = torch.nan  # which must not spoil the others
    gt[~mask] = torch.inf
    deltas.requires_grad_()
    got = loss_of(kind, boxes, deltas, gt, counted=mask)
    got.backward()
    torch.testing.assert_close(got, wanted)
    assert deltas.grad is not None
    torch.testing.assert_close(deltas.grad[mask], alone.grad)
    assert not deltas.grad[~mask].any()


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_counts_the_loss_is_exactly_zero(kind: str, random_boxes: Draw) -> None:
    """Also in single precision, in which decoding hardly gives back the very same boxes."""
    boxes, none = random_boxes(50), torch.zeros(50, dtype=torch.bool)
    deltas = torch.randn(50, 4, requires_grad=True)
    loss = loss_of(kind, boxes, deltas, random_boxes(50, 1), counted=none)
    loss.backward()
    assert loss == 0
    assert deltas.grad is not None
    assert not deltas.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_deltas_of_half_precision_have_a_finite_loss_on_large_boxes(kind: str) -> None:
    boxes = torch.tensor([[0.0, 0, 2000, 3000], [100, 100, 4000, 900]])
    deltas = torch.full((2, 4), 0.25, dtype=torch.float16, requires_grad=True)
    loss = loss_of(kind, boxes, deltas, boxes + 8)
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    exact = loss_of(kind, boxes.double(), deltas.detach().double(), boxes.double() + 8)
    torch.testing.assert_close(loss.detach().double(), exact, rtol=1e-3, atol=1e-3)
    assert deltas.grad is not None
    assert deltas.grad.isfinite().all()


def test_an_unknown_loss_is_refused_with_all_that_are_known() -> None:
    box = torch.tensor([[0.0, 0, 9, 9]])
    known = r"\['smooth_l1', 'giou', 'diou', 'ciou'\]"
    with pytest.raises(ValueError, match=f"unknown box_reg_loss_type 'huber' Known: {known}"):
        loss_of("huber", box, torch.zeros(1, 4), box)


def dense_inputs(
    random_boxes: Draw, images: int
) -> tuple[list[Boxes], list[Tensor], list[Tensor], Tensor]:
    """Two levels of five and three anchors, deltas, ground truth, and which are foreground."""
    anchors = [Boxes(random_boxes(5)), Boxes(random_boxes(3, 1))]
    generator = torch.Generator().manual_seed(images)
    deltas = [torch.randn(images, count, 4, generator=generator) for count in (5, 3)]
    gt = [random_boxes(8, 2 + image) for image in range(images)]
    return anchors, deltas, gt, torch.rand(images, 8, generator=generator) > 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_without_foreground_the_dense_loss_is_zero_and_differentiable(
    kind: str, random_boxes: Draw
) -> None:
    anchors, deltas, gt, foreground = dense_inputs(random_boxes, 2)
    leaves = [level.requires_grad_() for level in deltas]
    loss = dense_box_regression_loss(
        anchors, TRANSFORM, leaves, gt, torch.zeros_like(foreground), kind
    )
    loss.backward()
    assert loss == 0
    assert all(level.grad is not None and not level.grad.any() for level in leaves)


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_must_not_be_asked_gets_the_same_dense_loss(
    kind: str, random_boxes: Draw
) -> None:
    anchors, deltas, gt, foreground = dense_inputs(random_boxes, 3)
    leaves = [level.requires_grad_() for level in deltas]
    loss = dense_box_regression_loss(anchors, TRANSFORM, leaves, gt, foreground, kind, 0.1)
    loss.backward()
    all_anchors, all_deltas = Boxes.cat(anchors).tensor, torch.cat(deltas, dim=1).detach()
    wanted = sum(
        loss_of(kind, all_anchors[rows], image[rows], image_gt[rows])
        for rows, image, image_gt in zip(foreground, all_deltas, gt, strict=True)
    )
    torch.testing.assert_close(loss.detach(), wanted)
    for level, rows in zip(leaves, foreground.split([5, 3], dim=1), strict=True):
        assert level.grad is not None
        assert not level.grad[~rows].any()
        assert level.grad[rows].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_dense_loss_knows_no_order_of_images(kind: str, random_boxes: Draw) -> None:
    anchors, deltas, gt, foreground = dense_inputs(random_boxes, 3)
    order = [2, 0, 1]
    wanted = dense_box_regression_loss(anchors, TRANSFORM, deltas, gt, foreground, kind)
    got = dense_box_regression_loss(
        *(anchors, TRANSFORM, [level[order] for level in deltas]),
        *([gt[image] for image in order], foreground[order], kind),
    )
    torch.testing.assert_close(got, wanted)


def cross_entropy_by_hand(logit: float, target: float) -> float:
    log_p, log_q = -math.log1p(math.exp(-logit)), -math.log1p(math.exp(logit))
    return -target * log_p - (1 - target) * log_q


@pytest.mark.parametrize("on_a_device", [False, True])
@given(st.integers(0, 12), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_cross_entropy_is_summed_over_what_counts(
    on_a_device: bool, count: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(count, generator=generator) * 5).double().requires_grad_()
    targets = torch.randint(-1, 2, (count,), generator=generator, dtype=torch.int8)
    counted = targets >= 0
    with pytest.MonkeyPatch.context() as patch:
        if on_a_device:
            patch.setattr("d2_modeling.host_waits._is_read_at_once", lambda device: False)
        loss = summed_where(counted, F.binary_cross_entropy_with_logits, logits, targets.to(logits))
    loss.backward()
    rows = zip(logits.tolist(), targets.tolist(), strict=True)
    wanted = sum(cross_entropy_by_hand(x, t) for x, t in rows if t >= 0)
    assert loss.item() == pytest.approx(wanted)
    slope = torch.where(counted, logits.detach().sigmoid() - targets, 0.0)
    torch.testing.assert_close(logits.grad, slope)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_logits_far_from_zero_have_a_finite_cross_entropy(sign: float) -> None:
    logits = torch.full((3,), sign * 1e4, requires_grad=True)
    counted = torch.tensor([True, True, False])
    loss = summed_where(
        counted, F.binary_cross_entropy_with_logits, logits, torch.tensor([0.0, 1.0, 0.0])
    )
    loss.backward()
    assert loss == 1e4
    assert logits.grad is not None
    assert logits.grad.tolist() == ([1, 0, 0] if sign > 0 else [0, -1, 0])


def test_factors_come_from_any_mapping_and_become_numbers() -> None:
    class Factors(dict[str, Any]):
        """As the nodes of configs are."""

    got = loss_weights(Factors(a=1, b="0.5"), ("a", "b", "c"))
    assert got == {"a": 1.0, "b": 0.5}
    assert all(type(value) is float for value in got.values())
    with pytest.raises(ValueError, match=r"\['x', 'y'\]; the losses are \['a', 'b'\]"):
        loss_weights({"y": 1, "a": 1, "x": 2}, ("a", "b"))
