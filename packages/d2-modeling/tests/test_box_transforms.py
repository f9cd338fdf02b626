"""Encodings of boxes against their formulas in float64, and what leaves them as they are."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    Box2BoxTransformRotated,
)

Draw = Callable[..., Tensor]

STRAIGHT = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
ROTATED = Box2BoxTransformRotated((10.0, 10.0, 5.0, 5.0, 1.0))
KINDS = [
    pytest.param(STRAIGHT, 4, id="straight"),
    pytest.param(ROTATED, 5, id="rotated"),
    pytest.param(Box2BoxTransformLinear(True), 4, id="linear"),
    pytest.param(Box2BoxTransformLinear(False), 4, id="linear-in-pixels"),
]
ENCODINGS = [KINDS[0], KINDS[1]]


@pytest.fixture(scope="session")
def draw(random_boxes: Draw, random_rotated_boxes: Draw) -> Draw:
    """Boxes of 4 or 5 values: values, count, seed."""
    return lambda values, count, seed=0: (
        random_boxes(count, seed) if values == 4 else random_rotated_boxes(count, seed)
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def corners(box: list[float]) -> tuple[float, float, float, float]:
    """Centre and sides of an XYXY box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def encoded(source: list[float], target: list[float], weights: tuple[float, ...]) -> list[float]:
    """Deltas of one pair of centres and sides, and of a fifth value in degrees."""
    deltas = [
        (target[0] - source[0]) / source[2],
        (target[1] - source[1]) / source[3],
        math.log(target[2] / source[2]),
        math.log(target[3] / source[3]),
    ]
    if len(source) == 5:
        turn = math.radians(target[4] - source[4])
        deltas.append(math.atan2(math.sin(turn), math.cos(turn)))
    return [delta * weight for delta, weight in zip(deltas, weights, strict=True)]


@given(st.integers(0, 8), st.integers(0, 10**6), st.floats(0.25, 16))
@settings(max_examples=20, deadline=None)
def test_boxes_are_encoded_one_after_another(
    random_boxes: Draw, count: int, seed: int, weight: float
) -> None:
    weights = (weight, 2 * weight, 3.0, 4.0)
    source, target = random_boxes(count, seed).double(), random_boxes(count, seed + 1).double()
    got = Box2BoxTransform(weights).get_deltas(source, target)
    wanted = [
        encoded(list(corners(a)), list(corners(b)), weights)
        for a, b in zip(source.tolist(), target.tolist(), strict=True)
    ]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64).view(-1, 4))


@given(st.integers(0, 8), st.integers(0, 10**6), st.floats(0.25, 16))
@settings(max_examples=20, deadline=None)
def test_rotated_boxes_are_encoded_one_after_another(
    random_rotated_boxes: Draw, count: int, seed: int, weight: float
) -> None:
    weights = (weight, 2 * weight, 3.0, 4.0, 5.0)
    source = random_rotated_boxes(count, seed).double()
    target = random_rotated_boxes(count, seed + 1).double()
    got = Box2BoxTransformRotated(weights).get_deltas(source, target)
    wanted = [encoded(a, b, weights) for a, b in zip(source.tolist(), target.tolist(), strict=True)]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64).view(-1, 5))


@given(st.integers(0, 5), st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_rotated_boxes_are_decoded_class_by_class(
    random_rotated_boxes: Draw, count: int, classes: int, seed: int
) -> None:
    boxes = random_rotated_boxes(count, seed).double()
    deltas = normal(count, classes * 5, seed=seed) * 8
    got = ROTATED.apply_deltas(deltas, boxes)
    wanted = []
    for box, row in zip(boxes.tolist(), deltas.tolist(), strict=True):
        for kind in range(classes):
            scaled = zip(row[5 * kind : 5 * kind + 5], ROTATED.weights, strict=True)
            dx, dy, dw, dh, da = (delta / weight for delta, weight in scaled)
            angle = (box[4] + math.degrees(da) + 180) % 360 - 180
            width, height = (
                side * math.exp(min(log, math.log(62.5)))
                for side, log in ((box[2], dw), (box[3], dh))
            )
            wanted.append([box[0] + dx * box[2], box[1] + dy * box[3], width, height, angle])
    expected = torch.tensor(wanted, dtype=torch.float64).view(count, classes * 5)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("normalize", [True, False])
@given(st.integers(0, 5), st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_distances_are_decoded_class_by_class_and_none_is_negative(
    random_boxes: Draw, normalize: bool, count: int, classes: int, seed: int
) -> None:
    boxes = random_boxes(count, seed).double()
    deltas = normal(count, classes * 4, seed=seed)
    got = Box2BoxTransformLinear(normalize).apply_deltas(deltas, boxes)
    wanted = []
    for box, row in zip(boxes.tolist(), deltas.tolist(), strict=True):
        x, y, width, height = corners(box)
        unit = (width, height) if normalize else (1.0, 1.0)
        for kind in range(classes):
            left, top, right, bottom = (
                max(delta, 0.0) * unit[side % 2]
                for side, delta in enumerate(row[4 * kind : 4 * kind + 4])
            )
            wanted.append([x - left, y - top, x + right, y + bottom])
    expected = torch.tensor(wanted, dtype=torch.float64).view(count, classes * 4)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("normalize", [True, False])
def test_distances_to_a_target_around_the_centre_lead_back_to_it(
    random_boxes: Draw, normalize: bool
) -> None:
    transform = Box2BoxTransformLinear(normalize)
    source = random_boxes(12).double()
    centre = (source[:, :2] + source[:, 2:]) / 2
    reach = 1 + 9 * torch.rand(12, 4, dtype=torch.float64)
    target = torch.cat([centre - reach[:, :2], centre + reach[:, 2:]], dim=1)
    deltas = transform.get_deltas(source, target)
    assert (deltas > 0).all()
    torch.testing.assert_close(transform.apply_deltas(deltas, source), target)


def test_a_centre_outside_the_target_gives_a_negative_distance_which_counts_as_none() -> None:
    transform = Box2BoxTransformLinear(normalize_by_size=False)
    source = torch.tensor([[0.0, 0, 10, 20]])  # its centre is (5, 10)
    target = torch.tensor([[7.0, 4, 9, 12]])
    deltas = transform.get_deltas(source, target)
    assert deltas.tolist() == [[-2, 6, 4, 2]]
    assert transform.apply_deltas(deltas, source).tolist() == [[5, 4, 9, 12]]


@pytest.mark.parametrize(("transform", "values"), KINDS)
def test_moving_both_boxes_changes_no_delta(transform: Any, values: int, draw: Draw) -> None:
    source, target = draw(values, 9).double(), draw(values, 9, 1).double()
    shift = torch.zeros(values, dtype=torch.float64)
    shift[:2] = torch.tensor([31.0, -17.0])
    if values == 4:
        shift[2:] = shift[:2]
    deltas = transform.get_deltas(source, target)
    torch.testing.assert_close(transform.get_deltas(source + shift, target + shift), deltas)
    moved = transform.apply_deltas(deltas, source + shift)
    torch.testing.assert_close(moved, transform.apply_deltas(deltas, source) + shift)


@pytest.mark.parametrize(("transform", "values"), KINDS)
def test_images_of_twice_the_size_have_the_same_deltas(
    transform: Any, values: int, draw: Draw
) -> None:
    source, target = draw(values, 9).double(), draw(values, 9, 1).double()
    factor = torch.full((values,), 2.0, dtype=torch.float64)
    factor[4:] = 1.0  # angles stay
    deltas = transform.get_deltas(source, target)
    in_pixels = isinstance(transform, Box2BoxTransformLinear) and not transform.normalize_by_size
    larger = deltas * 2 if in_pixels else deltas
    torch.testing.assert_close(transform.get_deltas(source * factor, target * factor), larger)
    decoded = transform.apply_deltas(larger, source * factor)
    torch.testing.assert_close(decoded, transform.apply_deltas(deltas, source) * factor)


def test_mirrored_images_have_mirrored_shifts(random_boxes: Draw) -> None:
    source, target = random_boxes(9).double(), random_boxes(9, 1).double()
    deltas = STRAIGHT.get_deltas(source, target)
    mirrored = [
        torch.stack([300 - box[:, 2], box[:, 1], 300 - box[:, 0], box[:, 3]], dim=1)
        for box in (source, target)
    ]
    got = STRAIGHT.get_deltas(*mirrored)
    torch.testing.assert_close(got, deltas * torch.tensor([-1.0, 1, 1, 1]).double())


@pytest.mark.parametrize(("transform", "values"), ENCODINGS)
def test_weights_multiply_deltas_and_divide_them_again(
    transform: Any, values: int, draw: Draw
) -> None:
    plain = type(transform)((1.0,) * values)
    source, target = draw(values, 9).double(), draw(values, 9, 1).double()
    weights = torch.tensor(transform.weights, dtype=torch.float64)
    deltas = plain.get_deltas(source, target)
    torch.testing.assert_close(transform.get_deltas(source, target), deltas * weights)
    decoded = transform.apply_deltas(deltas * weights, source)
    torch.testing.assert_close(decoded, plain.apply_deltas(deltas, source))


@pytest.mark.parametrize(("transform", "values"), KINDS)
def test_rows_and_classes_are_decoded_on_their_own(transform: Any, values: int, draw: Draw) -> None:
    boxes, order = draw(values, 7).double(), torch.tensor([3, 0, 6, 5, 1, 4, 2])
    first, second = normal(7, values), normal(7, 2 * values, seed=1)
    together = transform.apply_deltas(torch.cat([first, second], dim=1), boxes)
    apart = [transform.apply_deltas(deltas, boxes) for deltas in (first, second)]
    torch.testing.assert_close(together, torch.cat(apart, dim=1))
    torch.testing.assert_close(transform.apply_deltas(first[order], boxes[order]), apart[0][order])
    targets = draw(values, 7, 1).double()
    encoding = transform.get_deltas(boxes, targets)
    assert transform.get_deltas(boxes[order], targets[order]).equal(encoding[order])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("transform", "values"), KINDS)
def test_boxes_are_decoded_in_single_precision_or_in_that_of_double_deltas(
    transform: Any, values: int, dtype: torch.dtype, draw: Draw
) -> None:
    boxes = draw(values, 6)
    deltas = (normal(6, 2 * values) * 0.1).to(dtype)
    got = transform.apply_deltas(deltas, boxes)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact = transform.apply_deltas(deltas.double(), boxes.double())
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("transform", "values"), KINDS)
def test_no_boxes_have_no_deltas(transform: Any, values: int) -> None:
    none = torch.zeros(0, values)
    assert transform.get_deltas(none, none).shape == (0, values)
    assert transform.apply_deltas(torch.zeros(0, 3 * values), none).shape == (0, 3 * values)


@pytest.mark.parametrize(("transform", "values"), KINDS)
def test_gradients_are_those_of_finite_differences(transform: Any, values: int, draw: Draw) -> None:
    source = draw(values, 3).double().requires_grad_()
    target = draw(values, 3, 1).double().requires_grad_()
    assert torch.autograd.gradcheck(transform.get_deltas, (source, target))
    deltas = (normal(3, 2 * values) * 0.5).requires_grad_()
    assert torch.autograd.gradcheck(transform.apply_deltas, (deltas, source))


@pytest.mark.parametrize(("transform", "values"), ENCODINGS)
def test_only_growth_is_bounded_and_beyond_the_bound_there_is_no_gradient(
    transform: Any, values: int, draw: Draw
) -> None:
    plain = type(transform)((1.0,) * values)
    boxes = draw(values, 1).double()
    deltas = torch.zeros(1, values, dtype=torch.float64)
    deltas[0, :4] = torch.tensor([1e3, -1e3, 99.0, -20.0])
    deltas.requires_grad_()
    decoded = plain.apply_deltas(deltas, boxes)
    if values == 4:
        x, y, width, height = corners(decoded[0].tolist())
        source = corners(boxes[0].tolist())
    else:
        x, y, width, height = decoded[0, :4].tolist()
        source = tuple(boxes[0, :4].tolist())
    assert x == pytest.approx(source[0] + 1e3 * source[2])  # shifts are not bounded
    assert y == pytest.approx(source[1] - 1e3 * source[3])
    assert width == pytest.approx(source[2] * 1000 / 16)
    assert height == pytest.approx(source[3] * math.exp(-20), rel=1e-3)  # nor is shrinking
    decoded[0, 2].backward()
    assert deltas.grad is not None
    assert deltas.grad[0, 2] == 0


def test_a_turn_of_whole_circles_is_none(random_rotated_boxes: Draw) -> None:
    source, target = random_rotated_boxes(8).double(), random_rotated_boxes(8, 1).double()
    turned = target.clone()
    turned[:, 4] += torch.tensor([360.0, -360, 720, -720, 360, 1080, -360, 0])
    deltas = ROTATED.get_deltas(source, target)
    torch.testing.assert_close(ROTATED.get_deltas(source, turned), deltas)
    assert (deltas[:, 4].abs() <= math.pi + 1e-9).all()


def test_decoded_angles_are_between_minus_and_plus_half_a_circle(
    random_rotated_boxes: Draw,
) -> None:
    boxes = random_rotated_boxes(60)
    deltas = torch.zeros(60, 5)
    deltas[:, 4] = torch.linspace(-30, 30, 60)
    angles = ROTATED.apply_deltas(deltas, boxes)[:, 4]
    assert (angles >= -180).all()
    assert (angles < 180).all()
    exact = (boxes[:, 4].double() + deltas[:, 4].double().rad2deg() - angles.double()) / 360
    torch.testing.assert_close(exact, exact.round(), rtol=0, atol=1e-5)


def test_upright_rotated_boxes_are_encoded_as_boxes_along_the_axes(
    random_rotated_boxes: Draw,
) -> None:
    source, target = random_rotated_boxes(9).double(), random_rotated_boxes(9, 1).double()
    source[:, 4] = target[:, 4] = 0
    straight = [
        torch.cat([box[:, :2] - box[:, 2:4] / 2, box[:, :2] + box[:, 2:4] / 2], dim=1)
        for box in (source, target)
    ]
    deltas = ROTATED.get_deltas(source, target)
    torch.testing.assert_close(deltas[:, :4], STRAIGHT.get_deltas(*straight))
    assert not deltas[:, 4].any()


@pytest.mark.parametrize("side", [0.0, -3.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_first_source_box_without_area_is_named_with_its_values(side: float, axis: int) -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8]]).repeat(4, 1)
    boxes[2:, 2 + axis] = side
    wanted = [0.0, 0.0, 8.0, 8.0]
    wanted[2 + axis] = side
    message = rf"positive width and height; box 2 is \[{', '.join(map(str, wanted))}\]"
    with pytest.raises(ValueError, match=message):
        STRAIGHT.get_deltas(boxes, boxes)
    rotated = torch.tensor([[5.0, 5, 8, 8, 30]]).repeat(4, 1)
    rotated[2:, 2 + axis] = side
    with pytest.raises(ValueError, match=r"positive width and height; box 2 is \[5\.0, 5\.0, "):
        ROTATED.get_deltas(rotated, rotated)


@pytest.mark.parametrize("columns", [3, 6, 10])
def test_deltas_of_another_number_of_columns_are_refused(columns: int) -> None:
    with pytest.raises(ValueError, match=r"deltas must have shape \(2, k \* 4\) for 2 boxes"):
        STRAIGHT.apply_deltas(torch.zeros(2, columns), torch.tensor([[0.0, 0, 8, 8]]).repeat(2, 1))


def test_weights_of_another_number_are_shown() -> None:
    with pytest.raises(ValueError, match=r"4 numbers \(dx, dy, dw, dh\), got \[1, 2, 3, 4, 5\]"):
        Box2BoxTransform((1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"5 numbers \(dx, dy, dw, dh, da\), got \[1\]"):
        Box2BoxTransformRotated((1,))
