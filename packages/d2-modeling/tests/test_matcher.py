"""Matching and sampling."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.matcher import Matcher
from d2_modeling.sampling import subsample_labels


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
