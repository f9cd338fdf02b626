"""Selection of proposals against a choice made one box after another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.proposal_generator import find_top_rpn_proposals
from d2_modeling.proposal_generator.proposal_utils import padded_proposals

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
