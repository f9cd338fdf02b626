"""Sizes that are chosen, and resizing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MODEST = settings(max_examples=30, deadline=None)
SIZES = st.integers(8, 200)
H, W = 24, 36


def blank(h, w):
    return np.zeros((h, w, 3), np.uint8)


def blob(x, y, size=(H, W), dtype=np.uint8):
    """A bright square of 3×3 pixels centred on pixel-centre (x, y)."""
    image = np.zeros((*size, 3), dtype)
    image[y - 1 : y + 2, x - 1 : x + 2] = 200
    return image


@MODEST
@given(SIZES, SIZES, st.integers(1, 300), st.integers(1, 400))
def test_shortest_edge_meets_the_size_or_the_limit(h, w, size, limit):
    new_h, new_w = T.ResizeShortestEdge.get_output_shape(h, w, size, limit)
    assert max(new_h, new_w) <= limit or abs(max(new_h, new_w) - limit) <= 0.5
    if max(new_h, new_w) < limit:
        assert min(new_h, new_w) == size
    if min(new_h, new_w) > 1:
        assert abs(new_h - h * new_w / w) <= 1 + 0.5 * h / w


@pytest.mark.parametrize(
    "policy",
    [
        T.ResizeShortestEdge(800, 1333),
        T.ResizeScale(0.1, 0.2, 30, 1333),
        T.RandomExtent((0.1, 0.1), (0, 0)),
    ],
    ids=repr,
)
def test_strips_keep_a_pixel(policy):
    strip = np.zeros((1, 6000, 3), np.uint8)
    data = T.AugInput(strip, boxes=np.array([[10.0, 0, 20, 1]]))
    policy(data)
    assert data.image.shape[0] >= 1
    assert np.isfinite(data.boxes).all()


def test_shortest_edge_draws_from_the_interval_or_the_list():
    np.random.seed(0)
    heights = {T.ResizeShortestEdge((8, 10)).get_transform(blank(20, 30)).new_h for _ in range(60)}
    assert heights == {8, 9, 10}
    policy = T.ResizeShortestEdge((8, 10), sample_style="choice")
    assert {policy.get_transform(blank(20, 30)).new_h for _ in range(60)} == {8, 10}


def test_size_zero_keeps_the_image():
    assert isinstance(T.ResizeShortestEdge(0).get_transform(IMAGE), T.NoOpTransform)


@MODEST
@given(SIZES, SIZES, st.floats(0.2, 2))
def test_resize_scale_fits_the_scaled_box(h, w, scale):
    resize = T.ResizeScale(scale, scale, 80, 100).get_transform(blank(h, w))
    assert resize.new_h <= 80 * scale + 0.5
    assert resize.new_w <= 100 * scale + 0.5
    assert resize.new_h >= 80 * scale - 0.5 or resize.new_w >= 100 * scale - 0.5


@pytest.mark.parametrize("interp", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_uint8_resize_is_pillows(interp, channels):
    shape = (30, 41) if channels is None else (30, 41, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ours = T.ResizeTransform(30, 41, 44, 23, interp).apply_image(image)
    planes = [image] if channels is None else np.moveaxis(image, 2, 0)
    # Bilinearly in two steps, as the order of the passes depends on Pillow's version.
    steps = [(23, 30), (23, 44)] if interp == 2 else [(23, 44)]
    pillow = [Image.fromarray(plane.copy()) for plane in planes]
    for step in steps:
        pillow = [plane.resize(step, interp) for plane in pillow]
    expected = np.asarray(pillow[0]) if channels is None else np.stack(pillow, axis=2)
    np.testing.assert_array_equal(ours, expected)
    assert ours.flags.writeable


@MODEST
@given(st.tuples(*[st.integers(1, 40)] * 4))
def test_nearest_resize_of_any_type_picks_pillows_pixels(sizes):
    h, w, new_h, new_w = sizes
    labels = np.arange(h * w, dtype=np.int32).reshape(h, w)
    expected = Image.fromarray(labels).resize((new_w, new_h), Image.Resampling.NEAREST)
    resized = T.ResizeTransform(h, w, new_h, new_w).apply_segmentation(labels.astype(np.int64))
    np.testing.assert_array_equal(resized, np.asarray(expected))


def test_resize_to_the_same_size_copies_nothing():
    image = blob(20, 11)
    assert T.ResizeTransform(H, W, H, W).apply_image(image) is image


def test_resize_takes_mirrored_and_read_only_images():
    image = blob(20, 11)
    image.flags.writeable = False
    flipped = T.ResizeTransform(H, W, 12, 18).apply_image(image[:, ::-1, ::-1])
    expected = T.ResizeTransform(H, W, 12, 18).apply_image(image)[:, ::-1, ::-1]
    np.testing.assert_array_equal(flipped, expected)


def test_float_images_have_no_other_methods():
    with pytest.raises(ValueError, match=r"float32 images are resized by nearest \(0\).*got meth"):
        T.ResizeTransform(H, W, 5, 5, interp=4).apply_image(np.zeros((H, W, 3), np.float32))


def test_unequal_scaling_of_an_unrotated_box_is_exact():
    scaled = T.ResizeTransform(10, 10, 20, 40).apply_rotated_box(np.array([[5.0, 5, 4, 2, 0]]))
    np.testing.assert_allclose(scaled, [[20, 10, 16, 4, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.Resize((0, 5)), r"positive \(h, w\)"),
        (lambda: T.ResizeShortestEdge((1, 2, 3)), "use 'choice' for a list of sizes"),
        (lambda: T.ResizeShortestEdge(5, sample_style="any"), "'range' or 'choice', got 'any'"),
        (lambda: T.ResizeShortestEdge([], sample_style="choice"), "is empty"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message):
        make()
