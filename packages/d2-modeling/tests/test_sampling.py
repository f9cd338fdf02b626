"""Random choice of training samples."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.sampling import subsample_labels, subsample_labels_of_images

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


def test_every_sample_has_the_same_chance() -> None:
    """400 draws of 5 out of 20: each expected 100 times, with a deviation below 9."""
    torch.manual_seed(0)
    labels = torch.full((20,), BACKGROUND)
    times = torch.zeros(20)
    for _ in range(400):
        times[subsample_labels(labels, 5, 0.5, BACKGROUND)[1]] += 1
    assert times.sum() == 2000
    assert (times - 100).abs().max() < 45
