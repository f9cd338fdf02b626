"""Windows that are chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MODEST = settings(max_examples=30, deadline=None)
SIZES = st.integers(8, 200)


def blank(h, w):
    return np.zeros((h, w, 3), np.uint8)


@pytest.mark.parametrize("crop_type", ["relative", "relative_range", "absolute", "absolute_range"])
@MODEST
@given(st.data())
def test_crop_lies_inside_the_image(crop_type, data):
    h, w = data.draw(SIZES), data.draw(SIZES)
    limits = st.floats(0.05, 1.0) if crop_type.startswith("relative") else st.integers(1, 250)
    size = sorted(data.draw(st.tuples(limits, limits)))
    np.random.seed(data.draw(st.integers(0, 99)))
    crop = T.RandomCrop(crop_type, size).get_transform(blank(h, w))
    assert crop.x0 >= 0
    assert crop.y0 >= 0
    assert crop.x0 + crop.w <= w
    assert crop.y0 + crop.h <= h
    if crop_type == "absolute":
        assert (crop.h, crop.w) == (min(size[0], h), min(size[1], w))
    if crop_type == "absolute_range":
        assert min(h, size[0]) <= crop.h <= size[1]
        assert min(w, size[0]) <= crop.w <= size[1]


def test_constrained_crop_avoids_windows_of_one_category():
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    policy = T.RandomCrop_CategoryAreaConstraint("absolute", (20, 20), 0.9)
    np.random.seed(0)
    for _ in range(20):
        window = policy.get_transform(IMAGE, labels).apply_segmentation(labels)
        areas = np.unique(window, return_counts=True)[1]
        assert areas.max() < 0.9 * areas.sum()


def test_constrained_crop_does_not_count_the_ignored_category():
    labels = np.full((40, 60), 255, np.uint8)
    labels[:, :20], labels[:, 40:] = 0, 1
    policy = T.RandomCrop_CategoryAreaConstraint("absolute", (20, 50), 0.95, ignored_category=255)
    np.random.seed(0)
    window = policy.get_transform(IMAGE, labels).apply_segmentation(labels)
    assert {0, 1} <= set(np.unique(window))


def test_constrained_crop_takes_the_last_window_when_none_will_do():
    policy = T.RandomCrop_CategoryAreaConstraint("absolute", (20, 20), 0.5)
    crop = policy.get_transform(IMAGE, np.zeros((40, 60), np.uint8))
    assert (crop.h, crop.w) == (20, 20)


@MODEST
@given(SIZES, SIZES, SIZES, SIZES)
def test_fixed_size_crop_has_the_size(h, w, crop_h, crop_w):
    data = T.AugInput(blank(h, w), sem_seg=np.zeros((h, w), np.uint8))
    T.FixedSizeCrop((crop_h, crop_w))(data)
    assert data.image.shape == (crop_h, crop_w, 3)
    assert (data.image[:h, :w] == 0).all()
    assert (data.image[h:] == 128).all()
    assert (data.sem_seg[:, w:] == 255).all()


def test_fixed_size_crop_without_padding_leaves_small_images():
    data = T.AugInput(IMAGE)
    T.FixedSizeCrop((30, 90), pad=False)(data)
    assert data.image.shape == (30, 60, 3)


def test_fixed_size_crop_can_be_inverted():
    transform = T.FixedSizeCrop((30, 90)).get_transform(IMAGE)
    restored = transform.inverse().apply_image(transform.apply_image(IMAGE))
    assert restored.shape == IMAGE.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.RandomCrop("exact", (1, 1)), "crop_type is one of"),
        (lambda: T.RandomCrop("relative", (1.5, 1)), r"lies in \(0, 1\]"),
        (lambda: T.RandomCrop("absolute", (1, 2, 3)), "two numbers"),
        (lambda: T.RandomCrop("absolute_range", (9, 2)), r"\(min, max\)"),
        (lambda: T.FixedSizeCrop((1,)), r"\(height, width\)"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message):
        make()
