"""Random choice of training samples."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.sampling import (
    sampled_labels,
    subsample_labels,
    subsample_labels_of_images,
)

BACKGROUND = 4
LABELS = st.lists(st.integers(-1, BACKGROUND), max_size=30)


@settings(deadline=None, max_examples=40)
@given(LABELS, st.integers(0, 20), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 10**6))
def test_as_many_as_allowed_are_drawn_and_the_rest_is_background(
    labels: list[int], count: int, fraction: float, seed: int
) -> None:
    torch.manual_seed(seed)
    positive, negative = subsample_labels(torch.tensor(labels), count, fraction, BACKGROUND)
    num_positive = sum(label not in (-1, BACKGROUND) for label in labels)
    wanted = min(num_positive, int(count * fraction))
    assert len(positive) == len(set(positive.tolist())) == wanted
    assert len(negative) == len(set(negative.tolist()))
    assert len(negative) == min(labels.count(BACKGROUND), count - wanted)
    assert all(labels[row] not in (-1, BACKGROUND) for row in positive.tolist())
    assert all(labels[row] == BACKGROUND for row in negative.tolist())


@settings(deadline=None, max_examples=20)
@given(st.lists(LABELS, max_size=4), st.integers(0, 10**6))
def test_images_are_drawn_together_as_one_after_another(images: list[list[int]], seed: int) -> None:
    tensors = [torch.tensor(labels, dtype=torch.int64) for labels in images]
    torch.manual_seed(seed)
    together = subsample_labels_of_images(tensors, 8, 0.5, BACKGROUND)
    torch.manual_seed(seed)
    for labels, drawn in zip(tensors, together, strict=True):
        for got, wanted in zip(drawn, subsample_labels(labels, 8, 0.5, BACKGROUND), strict=True):
            assert torch.equal(got, wanted)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(-1, BACKGROUND), min_size=9, max_size=9), min_size=1, max_size=3),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 10**6),
)
def test_a_draw_of_fixed_size_has_the_counts_of_one_by_rows(
    images: list[list[int]], count: int, fraction: float, seed: int
) -> None:
    torch.manual_seed(seed)
    labels = torch.tensor(images)
    drawn = sampled_labels(labels, count, fraction, BACKGROUND)
    for image, got in zip(labels, drawn, strict=True):
        positive, negative = subsample_labels(image, count, fraction, BACKGROUND)
        assert (got == 1).sum() == len(positive)
        assert (got == 0).sum() == len(negative)
        assert ((image[got == 1] != -1) & (image[got == 1] != BACKGROUND)).all()
        assert (image[got == 0] == BACKGROUND).all()


def test_every_sample_has_the_same_chance() -> None:
    """400 draws of 5 out of 20: each expected 100 times, with a deviation below 9."""
    torch.manual_seed(0)
    labels = torch.full((20,), BACKGROUND)
    times, times_of_fixed_size = torch.zeros(20), torch.zeros(20)
    for _ in range(400):
        times[subsample_labels(labels, 5, 0.5, BACKGROUND)[1]] += 1
        times_of_fixed_size += sampled_labels(labels[None], 5, 0.5, BACKGROUND)[0] == 0
    for each in (times, times_of_fixed_size):
        assert each.sum() == 2000
        assert (each - 100).abs().max() < 45


DRAWS = [
    pytest.param(lambda *options: subsample_labels(*options), id="by-rows"),
    pytest.param(
        lambda labels, *options: tuple(
            (sampled_labels(labels[None], *options)[0] == value).nonzero()[:, 0] for value in (1, 0)
        ),
        id="of-fixed-size",
    ),
]
"""Both give the rows of positives and of negatives."""


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize(
    ("count", "fraction", "positives", "negatives"),
    [
        (10, 0.25, 2, 8),  # 2.5 are rounded down
        (10, 0.0, 0, 10),
        (10, 1.0, 5, 5),  # filled with negatives
        (100, 0.5, 5, 20),  # all there are
        (1, 0.5, 0, 1),
        (0, 0.5, 0, 0),
    ],
)
def test_positives_are_bounded_by_the_fraction_and_negatives_fill_up(
    draw: Any, count: int, fraction: float, positives: int, negatives: int
) -> None:
    labels = torch.tensor([BACKGROUND] * 20 + [0, 1, 2, 3, 0] + [-1] * 9)
    positive, negative = draw(labels, count, fraction, BACKGROUND)
    assert (len(positive), len(negative)) == (positives, negatives)
    assert (positive >= 20).all()
    assert (positive < 25).all()
    assert (negative < 20).all()


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("background", [0, 1, 80])
def test_any_label_may_be_the_background(draw: Any, background: int) -> None:
    labels = torch.tensor([0, 1, 80, -1], dtype=torch.int64)
    positive, negative = draw(labels, 4, 1.0, background)
    assert negative.tolist() == [[0, 1, 80].index(background)]
    assert sorted(positive.tolist()) == sorted({0, 1, 2} - set(negative.tolist()))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_labels_of_any_integer_type_are_drawn(dtype: torch.dtype) -> None:
    labels = torch.tensor([1, 0, -1, 1, 0], dtype=dtype)
    for rows, wanted in zip(subsample_labels(labels, 8, 0.5, 0), ({0, 3}, {1, 4}), strict=True):
        assert rows.dtype == torch.int64
        assert set(rows.tolist()) == wanted
    drawn = sampled_labels(labels[None], 8, 0.5, 0)
    assert drawn.dtype == torch.int8
    assert drawn.tolist() == [[1, 0, -1, 1, 0]]


def test_of_nothing_nothing_is_drawn() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert [rows.tolist() for rows in subsample_labels(none, 5, 0.5, 0)] == [[], []]
    assert subsample_labels_of_images([], 5, 0.5, 0) == []
    assert sampled_labels(torch.zeros(0, 6), 5, 0.5, 0).shape == (0, 6)
    assert sampled_labels(torch.zeros(2, 0), 5, 0.5, 0).shape == (2, 0)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_repeats_its_draw_and_leaves_labels_alone(draw: Any) -> None:
    labels = torch.arange(60) % (BACKGROUND + 1)
    before = labels.clone()
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append([rows.sort().values.tolist() for rows in draw(labels, 16, 0.5, BACKGROUND)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert labels.equal(before)


def test_positives_too_are_drawn_with_equal_chance() -> None:
    """400 draws of 5 out of 20: each expected 100 times, with a deviation below 9."""
    torch.manual_seed(1)
    labels = torch.cat([torch.zeros(20), torch.full((40,), BACKGROUND)]).long()
    times, times_of_fixed_size = torch.zeros(20), torch.zeros(20)
    for _ in range(400):
        times[subsample_labels(labels, 10, 0.5, BACKGROUND)[0]] += 1
        drawn = sampled_labels(labels[None], 10, 0.5, BACKGROUND)[0]
        times_of_fixed_size += drawn[:20] == 1
    for each in (times, times_of_fixed_size):
        assert each.sum() == 2000
        assert (each - 100).abs().max() < 45


def test_images_are_drawn_apart_from_each_other() -> None:
    torch.manual_seed(0)
    labels = torch.full((2, 500), BACKGROUND)
    first, second = (image == 0 for image in sampled_labels(labels, 100, 0.5, BACKGROUND))
    assert first.sum() == second.sum() == 100
    assert 0 < (first & second).sum() < 60  # 20 are expected
