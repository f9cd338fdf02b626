"""Selection of proposals against a choice made one box after another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.proposal_generator import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from d2_modeling.proposal_generator.proposal_utils import padded_proposals
from d2_structures import Boxes, Instances, RotatedBoxes, pairwise_iou_rotated

Draw = Callable[..., Tensor]
Nms = Callable[[Any, Any, float], list[int]]
SIZES = [(40, 60), (64, 30)]


def levels_of(counts: list[int], seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """For each level boxes and distinct scores of two images."""
    generator = torch.Generator().manual_seed(seed)
    total = 2 * sum(counts)
    scores = torch.randperm(total, generator=generator).float() - total / 2
    low = torch.rand(total, 2, generator=generator) * 60 - 10
    high = low + torch.rand(total, 2, generator=generator) * 30
    boxes = torch.cat([low, high], dim=1)
    sizes = [2 * count for count in counts]
    return (
        [part.view(2, -1, 4) for part in boxes.split(sizes)],
        [part.view(2, -1) for part in scores.split(sizes)],
    )


def clipped(box: list[float], size: tuple[int, int]) -> list[float]:
    height, width = size
    x1, y1, x2, y2 = box
    return [
        *(min(max(x1, 0.0), width), min(max(y1, 0.0), height)),
        *(min(max(x2, 0.0), width), min(max(y2, 0.0), height)),
    ]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(0, 8),
    st.sampled_from([0.0, 8.0]),
)
def test_proposals_are_chosen_by_level_then_by_image(
    greedy_nms: Nms, counts: list[int], seed: int, before: int, after: int, smallest: float
) -> None:
    boxes, scores = levels_of(counts, seed)
    results = find_top_rpn_proposals(boxes, scores, SIZES, 0.5, before, after, smallest, False)
    for image, size in enumerate(SIZES):
        found: list[tuple[float, list[float]]] = []
        for level_boxes, level_scores in zip(boxes, scores, strict=True):
            order = level_scores[image].argsort(descending=True)[:before].tolist()
            rows = [clipped(level_boxes[image, row].tolist(), size) for row in order]
            wide = [r[2] - r[0] > smallest and r[3] - r[1] > smallest for r in rows]
            left = [
                (level_scores[image, index].item(), row)
                for index, row, enough in zip(order, rows, wide, strict=True)
                if enough
            ]
            kept = greedy_nms(
                torch.tensor([row for _, row in left]).view(-1, 4),
                torch.tensor([score for score, _ in left]),
                0.5,
            )
            found += [left[index] for index in kept]
        found.sort(key=lambda pair: -pair[0])
        result = results[image]
        assert result.image_size == size
        assert result.objectness_logits.tolist() == [score for score, _ in found[:after]]
        wanted = torch.tensor([row for _, row in found[:after]]).view(-1, 4)
        torch.testing.assert_close(result.proposal_boxes.tensor, wanted)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_boxes_that_are_not_finite_stop_training_and_are_left_out_otherwise(value: float) -> None:
    boxes, scores = levels_of([4], 0)
    boxes[0][0, 1, 2] = value
    with pytest.raises(FloatingPointError, match="diverged"):
        find_top_rpn_proposals(boxes, scores, SIZES, 1.0, 10, 10, 0.0, True)
    first, second = find_top_rpn_proposals(boxes, scores, SIZES, 1.0, 10, 10, 0.0, False)
    assert first.proposal_boxes.tensor.isfinite().all()
    assert scores[0][0, 1].item() not in first.objectness_logits.tolist()
    assert second.proposal_boxes.tensor.isfinite().all()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.integers(0, 12),
    st.sampled_from([0.1, 0.5]),
)
def test_padded_proposals_are_the_same_and_then_rows_of_nan(
    counts: list[int], seed: int, after: int, thresh: float
) -> None:
    boxes, scores = levels_of(counts, seed)
    settings: Any = (boxes, scores, SIZES, thresh, 10, after, 4.0, False)
    wanted = find_top_rpn_proposals(*settings)
    with padded_proposals(True):
        padded = find_top_rpn_proposals(*settings)
    assert {len(image) for image in padded} == {min(after, sum(counts))}
    for image, plain in zip(padded, wanted, strict=True):
        rows, rest = image[: len(plain)], image[len(plain) :]
        assert torch.equal(rows.proposal_boxes.tensor, plain.proposal_boxes.tensor)
        assert torch.equal(rows.objectness_logits, plain.objectness_logits)
        assert rest.proposal_boxes.tensor.isnan().all()
        assert rest.objectness_logits.isnan().all()
    with padded_proposals(False):
        assert [len(image) for image in find_top_rpn_proposals(*settings)] == [*map(len, wanted)]


def one_level(boxes: Tensor, scores: Tensor, **options: Any) -> Any:
    """The proposals of one image of (64, 64) from one level."""
    settings = {
        "nms_thresh": 0.5,
        "pre_nms_topk": 100,
        "post_nms_topk": 100,
        "min_box_size": 0.0,
        "training": False,
    }
    images = [boxes[None]], [scores[None]], [(64, 64)]
    (found,) = find_top_rpn_proposals(*images, **{**settings, **options})
    return found


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(0, 10**6), st.sampled_from([0.2, 0.7]))
def test_rotated_proposals_are_suppressed_by_their_own_overlaps(
    random_rotated_boxes: Draw, count: int, seed: int, thresh: float
) -> None:
    boxes = random_rotated_boxes(count, seed, 40.0)
    scores = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).float()
    found = one_level(boxes, scores, nms_thresh=thresh)
    clipped = RotatedBoxes(boxes)
    clipped.clip((64, 64))
    overlaps = pairwise_iou_rotated(clipped, clipped).tolist()
    wanted: list[int] = []
    for row in scores.argsort(descending=True).tolist():
        if all(overlaps[row][other] <= thresh for other in wanted):
            wanted.append(row)
    assert isinstance(found.proposal_boxes, RotatedBoxes)
    assert found.objectness_logits.equal(scores[wanted])
    torch.testing.assert_close(
        found.proposal_boxes.tensor, clipped.tensor[wanted], rtol=1e-5, atol=1e-4
    )


def test_boxes_of_another_level_suppress_nothing() -> None:
    box = torch.tensor([[[0.0, 0, 9, 9]]])
    levels = [box, box], [torch.tensor([[1.0]]), torch.tensor([[2.0]])]
    (found,) = find_top_rpn_proposals(*levels, [(20, 20)], 0.5, 10, 10, 0.0, False)
    assert found.objectness_logits.tolist() == [2, 1]


@pytest.mark.parametrize("low", [0.0, 1.0, 2.0, 3.0])
def test_sides_have_to_be_longer_than_the_smallest(low: float) -> None:
    boxes = torch.tensor([[0.0, 0, 1, 9], [20, 20, 22, 29], [40, 40, 50, 43], [9, 60, 19, 60]])
    found = one_level(boxes, torch.arange(4.0), min_box_size=low)
    shortest = {0.0: [2, 1, 0], 1.0: [2, 1], 2.0: [2], 3.0: []}[low]
    assert found.objectness_logits.tolist() == shortest


@pytest.mark.parametrize("where", ["boxes", "scores"])
def test_what_is_not_finite_is_no_proposal_even_if_any_size_is_taken(where: str) -> None:
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [5, 5, 5, 5], [9, 9, 20, 20]]), torch.arange(3.0)
    (boxes if where == "boxes" else scores)[2] = torch.nan
    found = one_level(boxes, scores, min_box_size=-1.0)
    assert found.objectness_logits.tolist() == [1, 0]


def test_a_box_outside_the_image_is_no_proposal() -> None:
    boxes = torch.tensor([[70.0, 0, 90, 9], [-9, -9, -1, -1], [-9, -9, 5, 5]])
    found = one_level(boxes, torch.tensor([3.0, 2.0, 1.0]))
    assert found.proposal_boxes.tensor.tolist() == [[0, 0, 5, 5]]


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_a_limit_of_any_size_is_kept(limit: int, random_boxes: Draw) -> None:
    boxes, scores = random_boxes(5, 0, 30.0), torch.arange(5.0)
    after = one_level(boxes, scores, post_nms_topk=limit, nms_thresh=1.0)
    before = one_level(boxes, scores, pre_nms_topk=limit, nms_thresh=1.0)
    assert after.objectness_logits.tolist() == [4, 3, 2, 1, 0][:limit]
    assert before.objectness_logits.tolist() == [4, 3, 2, 1, 0][:limit]


def test_levels_without_anchors_give_nothing() -> None:
    empty = torch.zeros(2, 0, 4), torch.zeros(2, 0)
    some = torch.tensor([[[0.0, 0, 9, 9]]]).repeat(2, 1, 1), torch.ones(2, 1)
    first, second = find_top_rpn_proposals(
        [empty[0], some[0]], [empty[1], some[1]], SIZES, 0.5, 10, 10, 0.0, True
    )
    assert len(first) == len(second) == 1
    none = find_top_rpn_proposals([empty[0]], [empty[1]], SIZES, 0.5, 10, 10, 0.0, True)
    assert [len(found) for found in none] == [0, 0]


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_images_of_another_scale_have_proposals_of_that_scale(factor: float) -> None:
    boxes, scores = levels_of([5, 3], 7)
    plain = find_top_rpn_proposals(boxes, scores, SIZES, 0.5, 4, 6, 0.0, False)
    scaled = find_top_rpn_proposals(
        [level * factor for level in boxes],
        *(scores, [(int(h * factor), int(w * factor)) for h, w in SIZES], 0.5, 4, 6, 0.0, False),
    )
    for got, wanted in zip(scaled, plain, strict=True):
        torch.testing.assert_close(got.proposal_boxes.tensor, wanted.proposal_boxes.tensor * factor)
        assert got.objectness_logits.equal(wanted.objectness_logits)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("count", [0, 2])
def test_ground_truth_comes_after_the_proposals_with_its_own_kind(
    rotated: bool, count: int, random_boxes: Draw, random_rotated_boxes: Draw
) -> None:
    draw, kind = (random_rotated_boxes, RotatedBoxes) if rotated else (random_boxes, Boxes)
    proposals = Instances(
        (64, 64), proposal_boxes=kind(draw(3)), objectness_logits=torch.arange(3.0).double()
    )
    gt = Instances((64, 64), gt_boxes=kind(draw(count, 1)), gt_classes=torch.arange(count))
    (joined,) = add_ground_truth_to_proposals([gt], [proposals])
    wanted = torch.cat([draw(3), draw(count, 1)])
    assert type(joined.proposal_boxes) is kind
    assert joined.proposal_boxes.tensor.equal(wanted)
    assert joined.objectness_logits[:3].equal(proposals.objectness_logits)
    sure = joined.objectness_logits[3:].sigmoid()
    torch.testing.assert_close(1 - sure, torch.full_like(sure, 1e-10), rtol=1e-3, atol=0)
    assert len(proposals) == 3  # what was given stays as it was


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_ground_truth_does_not_change_the_precision_of_logits(dtype: torch.dtype) -> None:
    boxes = Boxes(torch.ones(2, 4))
    proposals = Instances(
        (64, 64), proposal_boxes=boxes, objectness_logits=torch.zeros(2, dtype=dtype)
    )
    (joined,) = add_ground_truth_to_proposals([boxes], [proposals])
    assert joined.objectness_logits.dtype == dtype


def test_fields_that_proposals_share_with_ground_truth_are_joined() -> None:
    proposals = Instances(
        (64, 64),
        proposal_boxes=Boxes(torch.ones(1, 4)),
        objectness_logits=torch.zeros(1),
        quality=torch.tensor([0.5]),
    )
    gt = Instances((64, 64), gt_boxes=Boxes(torch.ones(2, 4)), quality=torch.tensor([0.1, 0.2]))
    (joined,) = add_ground_truth_to_proposals([gt], [proposals])
    assert joined.quality.tolist() == pytest.approx([0.5, 0.1, 0.2])
    gt.remove("quality")
    with pytest.raises(ValueError, match=r"have the fields \['quality'\], which the ground truth"):
        add_ground_truth_to_proposals([gt], [proposals])
