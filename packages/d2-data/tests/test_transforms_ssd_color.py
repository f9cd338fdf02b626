"""The colour augmentation of SSD."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_data.transforms import AugInput, ColorAugSSD, ColorTransform

COLORS = np.array([[[200, 40, 40], [10, 90, 160]], [[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)


def only(**changed):
    """Options in which all that is not named changes nothing."""
    nothing = {
        "brightness_delta": 0,
        "contrast_low": 1,
        "contrast_high": 1,
        "saturation_low": 1,
        "saturation_high": 1,
        "hue_delta": 0,
    }
    return nothing | changed


def outcomes(image: np.ndarray, format: str = "RGB", **options) -> list[np.ndarray]:
    """What many draws make of an image."""
    augmentation = ColorAugSSD(format, **options)
    return [augmentation.get_transform(image).apply_image(image) for _ in range(40)]


@given(seed=st.integers(0, 2**32 - 1))
def test_a_transform_changes_colours_alone_and_always_alike(seed):
    np.random.seed(seed)
    transform = ColorAugSSD("BGR").get_transform(COLORS)
    assert isinstance(transform, ColorTransform)
    changed = transform.apply_image(COLORS)
    assert changed.dtype == np.uint8
    assert changed.shape == COLORS.shape
    assert (changed == transform.apply_image(COLORS)).all()
    points = np.array([[1.0, 2.0]])
    assert (transform.apply_coords(points) == points).all()


def test_without_ranges_nothing_changes():
    assert all((image == COLORS).all() for image in outcomes(COLORS, **only()))


def test_contrast_multiplies_in_half_of_the_images():
    found = outcomes(COLORS, **only(contrast_low=0.5, contrast_high=0.5))
    halved = [bool((image == COLORS // 2).all()) for image in found]
    assert {True, False} == set(halved)
    assert all(half or (image == COLORS).all() for half, image in zip(halved, found, strict=True))


def test_saturation_and_hue_are_those_of_the_colour_circle():
    def hue_and_saturation(pixel):
        hue, saturation, _ = colorsys.rgb_to_hsv(*(pixel / 255))
        return 360 * hue, saturation

    wanted = {hue_and_saturation(COLORS[0, 1])[1], 0.5 * hue_and_saturation(COLORS[0, 1])[1]}
    grey = outcomes(COLORS, **only(saturation_low=0.5, saturation_high=0.5))
    for image in grey:
        assert min(abs(hue_and_saturation(image[0, 1])[1] - s) for s in wanted) < 0.02
    before = hue_and_saturation(COLORS[0, 1])[0]
    turns = {
        round(hue_and_saturation(image[0, 1])[0] - before)
        for image in outcomes(COLORS, **only(hue_delta=15))
    }
    assert max(map(abs, turns)) <= 32
    assert len(turns) > 5


def test_the_order_of_channels_is_kept():
    np.random.seed(3)
    rgb = ColorAugSSD("RGB").get_transform(COLORS).apply_image(COLORS)
    np.random.seed(3)
    bgr = ColorAugSSD("BGR").get_transform(COLORS).apply_image(COLORS[..., ::-1])
    assert (rgb == bgr[..., ::-1]).all()
    with pytest.raises(ValueError, match="knows the formats 'BGR' and 'RGB', got 'L'"):
        ColorAugSSD("L")


def test_it_stands_in_a_list_of_augmentations():
    aug_input = AugInput(COLORS.copy())
    ColorAugSSD("RGB")(aug_input)
    assert aug_input.image.shape == COLORS.shape
