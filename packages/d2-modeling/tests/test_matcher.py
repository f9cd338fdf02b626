"""Matching and sampling."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.matcher import Matcher, match_boxes
from d2_modeling.sampling import subsample_labels
from d2_structures import Boxes, RotatedBoxes, pairwise_iou


def test_matches_equal_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["matcher"]
    for case in golden["cases"]:
        matcher = Matcher(case["thresholds"], case["labels"], case["low_quality"])
        matches, labels = matcher(golden["iou"])
        assert torch.equal(matches, case["idx"])
        assert torch.equal(labels, case["lab"])
        assert labels.dtype == torch.int8
        matches, labels = matcher(golden["iou"][:0])
        assert torch.equal(matches, case["empty_idx"])
        assert torch.equal(labels, case["empty_lab"])


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 999), st.booleans())
@settings(max_examples=40, deadline=None)
def test_labels_follow_the_best_overlap(m: int, n: int, seed: int, low_quality: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    overlaps = (torch.rand(m, n, generator=generator) * 10).round() / 10
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], low_quality)(overlaps)
    for column, (match, label) in enumerate(zip(matches.tolist(), labels.tolist(), strict=True)):
        best = overlaps[:, column].max()
        assert overlaps[match, column] == best
        plain = 0 if best < 0.3 else -1 if best < 0.7 else 1
        rescued = low_quality and any(
            overlaps[row, column] == overlaps[row].max() for row in range(m)
        )
        assert label == (1 if rescued else plain)


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [([], [0]), ([0.0], [0, 1]), ([0.7, 0.3], [0, -1, 1]), ([0.5], [0]), ([0.5], [0, 2])],
)
def test_wrong_thresholds_and_labels_are_refused(
    thresholds: list[float], labels: list[int]
) -> None:
    with pytest.raises(ValueError):
        Matcher(thresholds, labels)


def test_only_matrices_are_matched() -> None:
    with pytest.raises(ValueError, match=r"\(M, N\)"):
        Matcher([0.5], [0, 1])(torch.zeros(3))


# Few distinct coordinates, so that overlaps tie.
box = st.builds(
    lambda x, y, width, height: [x, y, x + width, y + height], *[st.integers(0, 5).map(float)] * 4
)


@given(st.lists(box, max_size=5), st.lists(box, max_size=15), st.booleans())
@settings(max_examples=60, deadline=None)
def test_boxes_match_as_their_overlaps_do(
    gt: list[list[float]], boxes: list[list[float]], low_quality: bool
) -> None:
    matcher = Matcher([0.3, 0.7], [0, -1, 1], low_quality)
    first, second = Boxes(gt), Boxes(boxes)
    got = match_boxes(matcher, first, second)
    for mine, wanted in zip(got, matcher(pairwise_iou(first, second)), strict=True):
        assert mine.dtype == wanted.dtype
        assert torch.equal(mine, wanted)


def test_other_matchers_see_the_overlaps() -> None:
    class Backwards(Matcher):
        def __call__(self, match_quality_matrix: torch.Tensor) -> Any:
            return super().__call__(1 - match_quality_matrix)

    boxes = Boxes([[0.0, 0, 4, 4], [0, 0, 9, 9]])
    _, labels = match_boxes(Backwards([0.5], [0, 1]), boxes[:1], boxes)
    assert labels.tolist() == [0, 1]


def test_rotated_boxes_match_by_their_own_overlaps() -> None:
    upright = RotatedBoxes([[5.0, 5, 8, 2, 0], [5, 5, 2, 8, 0]])
    turned = RotatedBoxes([[5.0, 5, 8, 2, 90], [5, 5, 8, 2, 180]])
    matches, labels = match_boxes(Matcher([0.5], [0, 1]), upright, turned)
    assert matches.tolist() == [1, 0]
    assert labels.tolist() == [1, 1]


def test_sampling_equals_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["subsample_labels"]
    torch.manual_seed(golden["seed"])
    got = subsample_labels(golden["labels"], golden["n"], golden["frac"], golden["bg"])
    for mine, wanted in zip(got, golden["out"], strict=True):
        assert torch.equal(mine, wanted)


@given(
    st.lists(st.sampled_from([-1, 0, 1, 2, 5]), max_size=60),
    st.integers(0, 40),
    st.floats(0, 1),
    st.sampled_from([0, 5]),
)
@settings(max_examples=60, deadline=None)
def test_samples_are_distinct_bounded_and_of_the_right_kind(
    values: list[int], num_samples: int, fraction: float, bg_label: int
) -> None:
    labels = torch.tensor(values, dtype=torch.int64)
    positive, negative = subsample_labels(labels, num_samples, fraction, bg_label)
    assert all(labels[i] not in (-1, bg_label) for i in positive)
    assert all(labels[i] == bg_label for i in negative)
    assert len(set(positive.tolist() + negative.tolist())) == len(positive) + len(negative)
    num_positive = sum(v not in (-1, bg_label) for v in values)
    assert len(positive) == min(num_positive, int(num_samples * fraction))
    assert len(negative) == min(values.count(bg_label), num_samples - len(positive))
