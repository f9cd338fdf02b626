"""Applying something or not."""

import numpy as np
import pytest

from d2_data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class NeedsLabels(T.Augmentation):
    def __init__(self, factor=2):
        self.factor = factor

    def get_transform(self, image, sem_seg):
        assert image.shape[:2] == sem_seg.shape
        return T.CropTransform(0, 0, image.shape[1] // self.factor, image.shape[0])


@pytest.mark.parametrize(("prob", "kind"), [(0.0, T.NoOpTransform), (1.0, T.HFlipTransform)])
def test_certain_probabilities_are_certain(prob, kind):
    flip = T.HFlipTransform(60)
    for _ in range(20):
        assert isinstance(T.RandomFlip(prob).get_transform(IMAGE), kind)
        assert isinstance(T.RandomApply(flip, prob).get_transform(IMAGE), kind)
        assert isinstance(T.RandomApply(T.RandomFlip(1.0), prob)(T.AugInput(IMAGE)), kind)


def test_half_probability_flips_half_the_time():
    np.random.seed(0)
    flips = [T.RandomFlip().get_transform(IMAGE) for _ in range(400)]
    assert 160 < sum(isinstance(flip, T.HFlipTransform) for flip in flips) < 240


def test_random_apply_serves_policies_that_need_more_than_the_image():
    data = T.AugInput(IMAGE, sem_seg=np.zeros((40, 60), np.uint8))
    T.RandomApply(NeedsLabels(), 1.0)(data)
    assert data.image.shape == (40, 30, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.RandomFlip(1.5), r"prob must lie in \[0, 1\], got 1.5"),
        (lambda: T.RandomFlip(horizontal=True, vertical=True), "use two RandomFlips"),
        (lambda: T.RandomFlip(horizontal=False), "horizontal=False, vertical=False"),
        (lambda: T.RandomApply(T.RandomFlip(), -1), "RandomApply: prob"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message):
        make()
