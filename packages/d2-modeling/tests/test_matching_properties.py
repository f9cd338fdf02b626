"""What matches of predictions and ground truth depend on, and what they do not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.matcher import Matcher, classes_of_matches, match_boxes
from d2_structures import Boxes, RotatedBoxes

Draw = Callable[..., Tensor]

# Overlaps in eighths tie often and are exact in every precision.
overlaps = st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 8), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: torch.tensor(rows) / 8)
)


def by_hand(matrix: Tensor, thresholds: list[float], labels: list[int], low: bool) -> Any:
    """Index and label of each prediction, one after another."""
    rows = matrix.tolist()
    found = []
    for column in range(matrix.shape[1]):
        values = [row[column] for row in rows]
        best = max(values)
        label = labels[sum(threshold <= best for threshold in thresholds)]
        if low and any(row[column] == max(row) for row in rows):
            label = 1
        found.append((values.index(best), label))
    return found


@given(overlaps, st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_number_of_bins_labels_the_best_overlap(matrix: Tensor, low: bool) -> None:
    thresholds, labels = [0.125, 0.25, 0.5, 0.875], [-1, 0, 1, -1, 1]
    matches, found = Matcher(thresholds, labels, low)(matrix)
    got = list(zip(matches.tolist(), found.tolist(), strict=True))
    assert got == by_hand(matrix, thresholds, labels, low)


@given(overlaps, st.booleans(), st.sampled_from([torch.float64, torch.float16, torch.bfloat16]))
@settings(max_examples=20, deadline=None)
def test_overlaps_of_any_precision_match_alike(
    matrix: Tensor, low: bool, dtype: torch.dtype
) -> None:
    matcher = Matcher([0.25, 0.75], [0, -1, 1], low)
    for got, wanted in zip(matcher(matrix.to(dtype)), matcher(matrix), strict=True):
        assert got.dtype == wanted.dtype
        assert got.equal(wanted)


@given(overlaps, st.booleans(), st.randoms())
@settings(max_examples=20, deadline=None)
def test_predictions_in_another_order_match_alike(matrix: Tensor, low: bool, random: Any) -> None:
    order = list(range(matrix.shape[1]))
    random.shuffle(order)
    matcher = Matcher([0.25, 0.75], [0, -1, 1], low)
    before = matrix.clone()
    for got, wanted in zip(matcher(matrix[:, order]), matcher(matrix), strict=True):
        assert got.equal(wanted[order])
    assert matrix.equal(before)


def test_an_overlap_at_a_threshold_is_above_it() -> None:
    _, labels = Matcher([0.25, 0.5], [0, -1, 1])(torch.tensor([[0.125, 0.25, 0.375, 0.5, 1.0]]))
    assert labels.tolist() == [0, -1, -1, 1, 1]


def test_of_equal_ground_truth_the_first_is_matched() -> None:
    matches, _ = Matcher([0.5], [0, 1])(torch.tensor([[0.5, 0.25, 0], [0.5, 0.75, 0]]))
    assert matches.tolist() == [0, 1, 0]
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    twice = Boxes(boxes[[0, 0, 1, 1]])
    matches, _ = match_boxes(Matcher([0.5], [0, 1]), twice, Boxes(boxes))
    assert matches.tolist() == [0, 2]


def test_a_rescued_prediction_keeps_the_ground_truth_that_it_overlaps_most() -> None:
    matrix = torch.tensor([[0.4, 0.0], [0.2, 0.0]])  # the first is the best of both
    matches, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(matrix)
    assert matches.tolist() == [0, 0]
    assert labels.tolist() == [1, 0]


def test_all_predictions_that_overlap_a_ground_truth_most_are_rescued() -> None:
    matrix = torch.tensor([[0.2, 0.3, 0.3, 0.0]])
    _, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(matrix)
    assert labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("low", [False, True])
def test_ground_truth_far_from_all_rescues_all_or_none(low: bool) -> None:
    """However little the most is: here it is nothing."""
    matcher = Matcher([0.5], [0, 1], low)
    boxes = Boxes(torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29]]))
    far = Boxes(torch.tensor([[500.0, 500, 520, 520]]))
    for matches, labels in (matcher(torch.zeros(1, 2)), match_boxes(matcher, far, boxes)):
        assert matches.tolist() == [0, 0]
        assert labels.tolist() == [int(low)] * 2


@pytest.mark.parametrize("label", [-1, 0, 1])
@pytest.mark.parametrize("low", [False, True])
def test_without_ground_truth_all_have_the_lowest_label(label: int, low: bool) -> None:
    matcher = Matcher([0.5], [label, 1], low)
    none, boxes = torch.zeros(0, 4), torch.tensor([[0.0, 0, 9, 9]] * 3)
    rotated = RotatedBoxes(torch.tensor([[5.0, 5, 9, 9, 20]] * 3))
    for matches, labels in (
        matcher(torch.zeros(0, 3)),
        match_boxes(matcher, Boxes(none), Boxes(boxes)),
        match_boxes(matcher, RotatedBoxes(torch.zeros(0, 5)), rotated),
    ):
        assert matches.dtype == torch.int64
        assert labels.dtype == torch.int8
        assert matches.tolist() == [0, 0, 0]
        assert labels.tolist() == [label] * 3


def test_without_predictions_nothing_is_matched() -> None:
    matcher = Matcher([0.5], [0, 1], allow_low_quality_matches=True)
    box = torch.tensor([[0.0, 0, 9, 9]])
    rotated = torch.tensor([[5.0, 5, 9, 9, 20]])
    for matches, labels in (
        matcher(torch.zeros(2, 0)),
        match_boxes(matcher, Boxes(box), Boxes(box[:0])),
        match_boxes(matcher, RotatedBoxes(rotated), RotatedBoxes(rotated[:0])),
    ):
        assert (matches.shape, matches.dtype) == ((0,), torch.int64)
        assert (labels.shape, labels.dtype) == ((0,), torch.int8)


@given(st.integers(1, 5), st.integers(0, 12), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_boxes_match_by_overlaps_found_one_by_one(
    random_boxes: Draw, iou_of_two: Any, m: int, n: int, seed: int
) -> None:
    gt, boxes = random_boxes(m, seed, 30.0), random_boxes(n, seed + 1, 30.0)
    thresholds = [0.2, 0.5]
    matches, labels = match_boxes(Matcher(thresholds, [0, -1, 1]), Boxes(gt), Boxes(boxes))
    truths = gt.double().tolist()
    for box, match, label in zip(
        boxes.double().tolist(), matches.tolist(), labels.tolist(), strict=True
    ):
        overlaps = [iou_of_two(truth, box) for truth in truths]
        best = max(overlaps)
        assert overlaps[match] == pytest.approx(best, abs=1e-6)
        if all(abs(best - threshold) > 1e-6 for threshold in thresholds):
            assert label == (0 if best < 0.2 else -1 if best < 0.5 else 1)


def test_a_function_may_be_the_matcher(random_boxes: Draw) -> None:
    seen: list[Any] = []

    def matcher(matrix: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(tuple(matrix.shape))
        return matrix.argmax(dim=0), matrix.new_ones(matrix.shape[1], dtype=torch.int8)

    boxes = Boxes(random_boxes(5))
    matches, labels = match_boxes(matcher, boxes, boxes)
    assert seen == [(5, 5)]
    assert matches.tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [1] * 5


@pytest.mark.parametrize(
    ("thresholds", "labels", "message"),
    [
        ([], [0], r"thresholds have to be positive and increasing, got \[\]"),
        ([-0.5], [0, 1], r"positive and increasing, got \[-0\.5\]"),
        ([0.7, 0.3], [0, -1, 1], r"positive and increasing, got \[0\.7, 0\.3\]"),
        ([0.5], [0, 1, 1], r"labels wants 2 values out of -1, 0 and 1, got \[0, 1, 1\]"),
        ([0.3, 0.7], [0, 2, 1], r"labels wants 3 values out of -1, 0 and 1, got \[0, 2, 1\]"),
    ],
)
def test_wrong_bounds_are_shown_with_what_is_wanted(
    thresholds: list[float], labels: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Matcher(thresholds, labels)


def test_a_matrix_of_another_rank_is_shown() -> None:
    with pytest.raises(ValueError, match=r"wanted a \(M, N\) matrix, got shape \(1, 2, 3\)"):
        Matcher([0.5], [0, 1])(torch.zeros(1, 2, 3))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1, 0, 1])), max_size=10),
    st.lists(st.integers(0, 6), min_size=4, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_a_class_is_that_of_the_match_or_background_or_ignored(
    matches: list[tuple[int, int]], gt_classes: list[int]
) -> None:
    got = classes_of_matches(
        torch.tensor([row for row, _ in matches], dtype=torch.int64),
        torch.tensor([label for _, label in matches], dtype=torch.int8),
        torch.tensor(gt_classes),
        num_classes=7,
    )
    assert got.dtype == torch.int64
    assert got.tolist() == [{1: gt_classes[row], 0: 7, -1: -1}[label] for row, label in matches]


def test_without_ground_truth_all_is_background_whatever_the_label() -> None:
    labels = torch.tensor([0, -1, 1], dtype=torch.int8)
    none = torch.zeros(0, dtype=torch.int64)
    assert classes_of_matches(torch.zeros(3).long(), labels, none, 7).tolist() == [7, 7, 7]
