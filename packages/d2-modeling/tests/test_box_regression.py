"""Box encodings and losses."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.box_regression import (
    Box2BoxTransform,
    box_regression_loss,
    dense_box_regression_loss,
)
from d2_modeling.losses import ciou_loss, diou_loss, giou_loss, loss_weights, smooth_l1_loss
from d2_structures import Boxes


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 50], dim=1)


def test_deltas_and_boxes_equal_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["box2box"]
    weighted = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    plain = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    src, tgt = golden["src"], golden["tgt"]
    torch.testing.assert_close(weighted.get_deltas(src, tgt), golden["get_w10"])
    torch.testing.assert_close(plain.get_deltas(src, tgt), golden["get_w1"])
    torch.testing.assert_close(
        weighted.apply_deltas(golden["deltas3cls"], src), golden["apply_w10"]
    )
    torch.testing.assert_close(plain.apply_deltas(golden["deltas"], src), golden["apply_w1"])


@given(st.integers(0, 20), st.integers(0, 1000), st.floats(0.5, 20))
@settings(max_examples=30, deadline=None)
def test_decoding_undoes_encoding(count: int, seed: int, weight: float) -> None:
    transform = Box2BoxTransform((weight, weight, weight / 2, weight / 2))
    src, tgt = random_boxes(count, seed).double(), random_boxes(count, seed + 1).double()
    decoded = transform.apply_deltas(transform.get_deltas(src, tgt), src)
    torch.testing.assert_close(decoded, tgt)


def test_sizes_are_bounded_when_decoding() -> None:
    transform = Box2BoxTransform((1, 1, 1, 1), scale_clamp=1.0)
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    decoded = transform.apply_deltas(torch.tensor([[0.0, 0.0, 50.0, 1.0]]), box)
    torch.testing.assert_close(decoded[0, 2] - decoded[0, 0], 2 * torch.tensor(1.0).exp())


def test_half_precision_deltas_decode_in_single_precision() -> None:
    transform = Box2BoxTransform((1, 1, 1, 1))
    decoded = transform.apply_deltas(torch.zeros(2, 4, dtype=torch.float16), random_boxes(2))
    assert decoded.dtype == torch.float32


def test_an_empty_source_box_is_refused_by_value() -> None:
    boxes = random_boxes(3)
    boxes[1, 2] = boxes[1, 0]
    with pytest.raises(ValueError, match="box 1 is"):
        Box2BoxTransform((1, 1, 1, 1)).get_deltas(boxes, random_boxes(3, 1))


def test_the_number_of_weights_is_checked() -> None:
    with pytest.raises(ValueError, match="4 numbers"):
        Box2BoxTransform((1, 1, 1))


def test_distance_losses_equal_the_reference(golden_layers: Any) -> None:
    golden = golden_layers["losses"]
    for function, name in ((diou_loss, "diou"), (ciou_loss, "ciou")):
        for reduction in ("none", "sum", "mean"):
            got = function(golden["b1"], golden["b2"], reduction=reduction)
            torch.testing.assert_close(got, golden[name][reduction], rtol=1e-4, atol=1e-5)


def test_giou_of_equal_boxes_is_zero_and_of_distant_ones_approaches_two() -> None:
    boxes = random_boxes(5)
    torch.testing.assert_close(giou_loss(boxes, boxes), torch.zeros(5), atol=1e-5, rtol=0)
    assert giou_loss(boxes, boxes + 1e6).min() > 1.99


@pytest.mark.parametrize("loss", [giou_loss, diou_loss, ciou_loss])
def test_overlap_losses_of_nothing_are_zero(loss: Any) -> None:
    empty = torch.zeros(0, 4, requires_grad=True)
    for reduction in ("mean", "sum"):
        assert loss(empty, torch.zeros(0, 4), reduction=reduction) == 0


@pytest.mark.parametrize("loss", [giou_loss, diou_loss, ciou_loss])
def test_overlap_losses_have_exact_gradients(loss: Any) -> None:
    first = random_boxes(4).double().requires_grad_()
    second = random_boxes(4, 3).double()
    if loss is ciou_loss:  # the trade-off factor counts as a constant
        loss(first, second, reduction="sum").backward()
        assert first.grad is not None
        assert torch.isfinite(first.grad).all()
    else:
        torch.autograd.gradcheck(lambda x: loss(x, second, reduction="sum"), [first])


def test_smooth_l1_is_torchs_and_l1_for_a_small_beta() -> None:
    x, y = torch.randn(20), torch.randn(20)
    torch.testing.assert_close(
        smooth_l1_loss(x, y, beta=0.5),
        torch.nn.functional.smooth_l1_loss(x, y, reduction="none", beta=0.5),
    )
    torch.testing.assert_close(smooth_l1_loss(x, y, 0.0, "mean"), (x - y).abs().mean())
    assert smooth_l1_loss(x[:0], y[:0], 0.0, "mean") == 0


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_the_dense_loss_is_that_of_the_foreground_pairs(kind: str) -> None:
    transform = Box2BoxTransform((1, 1, 1, 1))
    anchors = [Boxes(random_boxes(6)), Boxes(random_boxes(3, 1))]
    deltas = [torch.randn(2, 6, 4) * 0.1, torch.randn(2, 3, 4) * 0.1]
    gt = [random_boxes(9, 2), random_boxes(9, 3)]
    mask = torch.rand(2, 9) > 0.5
    options = {"box_reg_loss_type": kind, "smooth_l1_beta": 0.1}
    got = dense_box_regression_loss(anchors, transform, deltas, gt, mask, **options)
    all_anchors, all_deltas = Boxes.cat(anchors).tensor, torch.cat(deltas, dim=1)
    wanted = sum(
        box_regression_loss(all_anchors[m], d[m], g[m], box2box_transform=transform, **options)
        for m, d, g in zip(mask, all_deltas, gt, strict=True)
    )
    torch.testing.assert_close(got, wanted)


def test_an_unknown_loss_type_is_refused_with_the_close_match() -> None:
    boxes = random_boxes(2)
    with pytest.raises(ValueError, match="did you mean 'giou'"):
        box_regression_loss(
            boxes,
            torch.zeros(2, 4),
            boxes,
            box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
            box_reg_loss_type="gious",
            smooth_l1_beta=0.0,
        )


def test_loss_weights_come_as_one_number_or_by_name() -> None:
    assert loss_weights(2, ("a", "b")) == {"a": 2.0, "b": 2.0}
    assert loss_weights({"a": 3}, ("a", "b")) == {"a": 3.0}
    with pytest.raises(ValueError, match="names \\['c'\\]"):
        loss_weights({"c": 1}, ("a", "b"))


def decoded_by_hand(box: list[float], deltas: list[float], weights: list[float]) -> list[float]:
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas, weights, strict=True))
    width, height = box[2] - box[0], box[3] - box[1]
    x = box[0] + width / 2 + dx * width
    y = box[1] + height / 2 + dy * height
    width *= math.exp(min(dw, math.log(1000 / 16)))
    height *= math.exp(min(dh, math.log(1000 / 16)))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_boxes_are_decoded_one_after_another(count: int, classes: int, seed: int) -> None:
    boxes, weights = random_boxes(count, seed), [10.0, 10.0, 5.0, 5.0]
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(count, 4 * classes, generator=generator) * 10
    got = Box2BoxTransform(weights).apply_deltas(deltas, boxes)
    wanted = [
        [
            value
            for kind in range(classes)
            for value in decoded_by_hand(
                box.double().tolist(), row[4 * kind : 4 * kind + 4].double().tolist(), weights
            )
        ]
        for box, row in zip(boxes, deltas, strict=True)
    ]
    expected = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-3)


def giou_by_hand(a: list[float], b: list[float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return 1 - width * height / union + (hull - union) / hull


@given(st.integers(0, 8), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_giou_loss_is_the_sum_over_pairs(count: int, seed: int) -> None:
    first, second = random_boxes(count, seed), random_boxes(count, seed + 1)
    loss = giou_loss(first.double(), second.double(), reduction="sum")
    wanted = sum(
        giou_by_hand(a, b)
        for a, b in zip(first.double().tolist(), second.double().tolist(), strict=True)
    )
    assert loss.item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@given(st.integers(0, 8), st.integers(0, 1000), st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=25, deadline=None)
def test_smooth_l1_is_taken_of_the_deltas_of_each_pair(count: int, seed: int, beta: float) -> None:
    reference, gt = random_boxes(count, seed), random_boxes(count, seed + 1)
    predicted = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for box, target, deltas in zip(
        reference.double().tolist(), gt.double().tolist(), predicted.double().tolist(), strict=True
    ):
        size = (box[2] - box[0], box[3] - box[1])
        wanted_size = (target[2] - target[0], target[3] - target[1])
        shift = [
            ((target[i] + target[i + 2]) - (box[i] + box[i + 2])) / 2 / size[i] for i in range(2)
        ]
        wanted = shift + [math.log(new / old) for new, old in zip(wanted_size, size, strict=True)]
        for got, value in zip(deltas, wanted, strict=True):
            error = abs(got - value)
            total += 0.5 * error**2 / beta if error < beta else error - 0.5 * beta
    loss = box_regression_loss(
        reference,
        predicted,
        gt,
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        box_reg_loss_type="smooth_l1",
        smooth_l1_beta=beta,
    )
    assert loss.item() == pytest.approx(total, rel=1e-4, abs=1e-4)
