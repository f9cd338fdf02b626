"""Changes of colour."""

import pickle

import numpy as np
import pytest
from PIL import ImageOps

from d2_data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_intensity_one_keeps_the_image():
    for policy in (T.RandomBrightness, T.RandomContrast, T.RandomSaturation):
        data = T.AugInput(IMAGE)
        transform = policy(1, 1)(data)
        np.testing.assert_array_equal(data.image, IMAGE)
        points = np.ones((2, 2))
        assert transform.apply_coords(points) is points
        assert isinstance(transform.inverse(), T.NoOpTransform)


def test_intensity_zero_is_black_even_or_grey():
    black, even, grey = (
        policy(0, 0).get_transform(IMAGE).apply_image(IMAGE)
        for policy in (T.RandomBrightness, T.RandomContrast, T.RandomSaturation)
    )
    assert not black.any()
    assert np.ptp(even) == 0
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_blending_floats_is_not_clipped():
    image = np.full((2, 2, 3), 0.75, np.float32)
    np.testing.assert_allclose(T.BlendTransform(1.0, 1.0, 2.0).apply_image(image), 2.5)


def test_lighting_without_scale_changes_nothing_and_adds_one_colour_with_it():
    image = IMAGE.astype(np.float64)
    np.testing.assert_array_equal(
        T.RandomLighting(0).get_transform(image).apply_image(image), image
    )
    shifted = T.RandomLighting(1).get_transform(image).apply_image(image)
    assert np.ptp((shifted - image).reshape(-1, 3), axis=0).max() < 1e-9


def test_color_transforms_touch_only_the_image():
    labels = np.eye(4, dtype=np.uint8)
    for transform in (
        T.ColorTransform(lambda image: 255 - image),
        T.PILColorTransform(lambda picture: picture.point(lambda v: 255 - v)),
    ):
        np.testing.assert_array_equal(transform.apply_image(IMAGE), 255 - IMAGE)
        assert transform.apply_segmentation(labels) is labels
        assert transform.apply_coords(labels) is labels
        assert isinstance(transform.inverse(), T.NoOpTransform)


@pytest.mark.parametrize(
    "transform", [T.ColorTransform(np.invert), T.PILColorTransform(ImageOps.invert)]
)
def test_color_transforms_can_be_sent_to_loading_processes(transform):
    """Which are not forked on macOS, and from Python 3.14 on nowhere."""
    sent = pickle.loads(pickle.dumps(T.AugmentationList([transform])))
    data = T.AugInput(IMAGE)
    sent(data)
    np.testing.assert_array_equal(data.image, 255 - IMAGE)


@pytest.mark.parametrize("kind", [T.ColorTransform, T.PILColorTransform])
def test_color_transform_wants_a_function(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__} wants a function"):
        kind("invert")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.RandomContrast(2, 1), "RandomContrast: intensity_min 2 exceeds"),
        (lambda: T.RandomSaturation(1, 1).get_transform(IMAGE[..., 0]), "RandomSaturation wants"),
        (lambda: T.RandomLighting(1).get_transform(IMAGE[..., :2]), "RandomLighting wants"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message):
        make()
