"""Which detections of two runs are the same."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.export.detection_pairs import Pairs, paired

Outputs = dict[str, Tensor]
SEEDS = st.integers(0, 10**6)
LIMITS: dict[str, Any] = {"within": 0.1, "score_margin": 1e-3}


def detections(boxes: Any, scores: Any, classes: Any = None, batch_index: Any = None) -> Outputs:
    count = len(boxes)
    zeros = [0] * count
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(count, -1 if count else 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "classes": torch.tensor(classes or zeros, dtype=torch.int64),
        "batch_index": torch.tensor(batch_index or zeros, dtype=torch.int64),
    }


def random(seed: int, count: int) -> Outputs:
    """Boxes far enough from each other for the tolerance."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 60, (count, 2), generator=generator).float() * 8
    low += torch.arange(count)[:, None] * 1.0
    size = 8.0 + torch.randint(0, 30, (count, 2), generator=generator)
    return {
        "boxes": torch.cat([low, low + size], dim=1),
        "scores": torch.rand(count, generator=generator),
        "classes": torch.randint(0, 3, (count,), generator=generator),
        "batch_index": torch.randint(0, 2, (count,), generator=generator),
    }


def taken(outputs: Outputs, rows: Tensor) -> Outputs:
    return {name: values[rows] for name, values in outputs.items()}


def as_pairs(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True))


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(0, 12))
def test_the_order_of_detections_is_no_difference(seed: int, count: int) -> None:
    wanted = random(seed, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    pairs = paired(wanted, taken(wanted, order), **LIMITS)
    assert as_pairs(pairs) == {(int(row), place) for place, row in enumerate(order)}
    assert (pairs.alone, pairs.unexplained) == (0, 0)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(0, 8), st.integers(0, 8))
def test_pairs_are_of_one_class_and_image_near_and_each_at_most_once(
    seed: int, first: int, second: int
) -> None:
    wanted = random(seed, first)
    both = taken(wanted, torch.arange(first // 2))
    more = random(seed + 1, second)
    got = {name: torch.cat([both[name], more[name]]) for name in wanted}
    got["boxes"] = got["boxes"] + 0.05
    pairs = paired(wanted, got, **LIMITS)
    for row, column in as_pairs(pairs):
        assert wanted["classes"][row] == got["classes"][column]
        assert wanted["batch_index"][row] == got["batch_index"][column]
        assert (wanted["boxes"][row] - got["boxes"][column]).abs().max() <= 0.1
    assert len(set(pairs.rows.tolist())) == len(set(pairs.columns.tolist())) == len(pairs.rows)
    assert pairs.alone == len(wanted["scores"]) + len(got["scores"]) - 2 * len(pairs.rows)
    assert 0 <= pairs.unexplained <= pairs.alone
    assert set(range(first // 2)) <= set(pairs.rows.tolist())


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(0, 6), st.integers(0, 6))
def test_both_sides_count_alike(seed: int, first: int, second: int) -> None:
    one, other = random(seed, first), random(seed + 1, second)
    forth, back = paired(one, other, **LIMITS), paired(other, one, **LIMITS)
    assert (forth.alone, forth.unexplained) == (back.alone, back.unexplained)


def test_another_class_or_image_is_another_detection() -> None:
    box = [[0, 0, 9, 9]]
    wanted = detections(box, [0.9], [1], [0])
    assert paired(wanted, detections(box, [0.9], [1], [0]), **LIMITS).alone == 0
    assert paired(wanted, detections(box, [0.9], [2], [0]), **LIMITS).alone == 2
    assert paired(wanted, detections(box, [0.9], [1], [1]), **LIMITS).alone == 2


def test_of_two_equal_boxes_the_scores_decide() -> None:
    box = [[0, 0, 9, 9], [0, 0, 9, 9]]
    pairs = paired(detections(box, [0.9, 0.5]), detections(box, [0.5, 0.9]), **LIMITS)
    assert as_pairs(pairs) == {(0, 1), (1, 0)}


def test_scores_are_compared_elsewhere() -> None:
    """A box with another score is the same box: the difference of scores is reported."""
    box = [[0, 0, 9, 9]]
    assert as_pairs(paired(detections(box, [0.9]), detections(box, [0.1]), **LIMITS)) == {(0, 0)}


@pytest.mark.parametrize(
    ("other", "unexplained"),
    [
        ([20, 0, 40, 20], 0),  # overlaps by a third
        ([35, 0, 55, 20], 2),  # overlaps by less
        ([200, 0, 220, 20], 2),
    ],
)
def test_a_rival_explains_a_box_without_partner(other: list[float], unexplained: int) -> None:
    """Others score lower on both sides, so that neither is the last."""
    wanted = detections([[10, 0, 30, 20], [300, 300, 310, 310]], [0.9, 0.2])
    got = detections([other, [300, 300, 310, 310]], [0.9, 0.2])
    assert paired(wanted, got, **LIMITS)[2:] == (2, unexplained)


def test_a_rival_of_another_class_explains_nothing() -> None:
    last = [300, 300, 310, 310]
    wanted = detections([[10, 0, 30, 20], last], [0.9, 0.2], [1, 0])
    got = detections([[12, 0, 32, 20], last], [0.9, 0.2], [2, 0])
    assert paired(wanted, got, **LIMITS)[2:] == (2, 2)


def test_where_nothing_is_found_all_of_the_other_side_is_alone_and_unexplained() -> None:
    some, nothing = random(3, 5), random(3, 0)
    for one, other in ((some, nothing), (nothing, some)):
        pairs = paired(one, other, **LIMITS)
        assert (len(pairs.rows), pairs.alone, pairs.unexplained) == (0, 5, 5)
    pairs = paired(nothing, nothing, **LIMITS)
    assert (len(pairs.rows), pairs.alone, pairs.unexplained) == (0, 0, 0)
    assert pairs.rows.dtype == torch.int64


def test_the_last_of_each_image_counts_for_that_image() -> None:
    last = [300, 300, 310, 310]
    wanted = detections([last, last, [0, 0, 9, 9]], [0.8, 0.2, 0.5], batch_index=[0, 1, 0])
    got = detections([last, last], [0.8, 0.2], batch_index=[0, 1])
    assert paired(wanted, got, **LIMITS)[2:] == (1, 0)
    wanted["batch_index"] = torch.tensor([0, 1, 1])
    assert paired(wanted, got, **LIMITS)[2:] == (1, 1)


@pytest.mark.parametrize(("moved", "same"), [(0.0, True), (0.09, True), (0.11, False)])
@pytest.mark.parametrize("coordinate", range(4))
def test_every_coordinate_counts(coordinate: int, moved: float, same: bool) -> None:
    box = [10.0, 20, 110, 90]
    other = list(box)
    other[coordinate] += moved
    pairs = paired(detections([box], [0.9]), detections([other], [0.9]), **LIMITS)
    assert (len(pairs.rows) == 1) == same


def test_rotated_boxes_are_compared_in_their_five_numbers() -> None:
    box = [50.0, 40, 60, 20, 30]
    for index, moved, same in ((4, 0.05, True), (4, 0.2, False), (2, 0.05, True), (0, 0.2, False)):
        other = list(box)
        other[index] += moved
        pairs = paired(detections([box], [0.9]), detections([other], [0.9]), **LIMITS)
        assert (len(pairs.rows) == 1) == same
    large = [500.0, 400, 2560, 20, 30]
    pairs = paired(
        detections([large], [0.9]), detections([[500.9, 400, 2560, 20, 30]], [0.9]), **LIMITS
    )
    assert len(pairs.rows) == 1


def test_boxes_of_no_numbers_are_alone() -> None:
    box = [[0, 0, 9, 9]]
    broken = detections([[float("nan"), 0, 9, 9]], [0.9])
    assert paired(detections(box, [0.9]), broken, **LIMITS).alone == 2
