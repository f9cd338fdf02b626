"""Random choice of training samples."""

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
