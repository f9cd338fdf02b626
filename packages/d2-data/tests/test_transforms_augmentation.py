"""What policies choose, and how inputs are given to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import transforms as T

MODEST = settings(max_examples=30, deadline=None)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SIZES = st.integers(8, 200)


def blank(h, w):
    return np.zeros((h, w, 3), np.uint8)


class NeedsLabels(T.Augmentation):
    def __init__(self, factor=2):
        self.factor = factor

    def get_transform(self, image, sem_seg):
        assert image.shape[:2] == sem_seg.shape
        return T.CropTransform(0, 0, image.shape[1] // self.factor, image.shape[0])


def test_policy_is_given_the_attributes_that_it_names():
    data = T.AugInput(IMAGE, sem_seg=np.zeros((40, 60), np.uint8))
    transform = NeedsLabels()(data)
    assert isinstance(transform, T.CropTransform)
    assert data.image.shape == (40, 30, 3)
    assert data.sem_seg.shape == (40, 30)


def test_missing_attribute_is_named():
    class Input:
        image = IMAGE

    with pytest.raises(AttributeError, match=r"NeedsLabels.get_transform needs 'sem_seg'"):
        NeedsLabels()(Input())


def test_policy_must_return_a_transform():
    class Wrong(T.Augmentation):
        def get_transform(self, image):
            return image

    with pytest.raises(TypeError, match=r"Wrong\.get_transform must return a Transform"):
        Wrong()(T.AugInput(IMAGE))


def test_policy_with_free_arguments_is_given_the_image():
    class Free(T.Augmentation):
        def get_transform(self, *args):
            (image,) = args
            return T.HFlipTransform(image.shape[1])

    assert repr(Free()(T.AugInput(IMAGE))) == "HFlipTransform(width=60)"


def test_policy_without_get_transform_says_so():
    with pytest.raises(NotImplementedError, match="AugmentationList does not define get_transform"):
        T.AugmentationList([]).get_transform(IMAGE)


def test_policies_print_their_settings():
    assert repr(NeedsLabels(3)) == str(NeedsLabels(3)) == "NeedsLabels(factor=3)"
    listed = T.AugmentationList([NeedsLabels(), T.HFlipTransform(3)])
    assert repr(listed) == "AugmentationList[NeedsLabels(), HFlipTransform(width=3)]"
    assert repr(T.RandomFlip(0.3)) == "RandomFlip(prob=0.3)"


def test_list_applies_each_to_what_the_ones_before_left():
    data = T.AugInput(IMAGE, boxes=np.array([[0.0, 0, 60, 40]]))
    policies = [T.Resize((20, 30)), T.RandomFlip(1.0), T.HFlipTransform(30)]
    applied = T.AugmentationList(policies)(data)
    assert isinstance(applied, T.TransformList)
    assert [type(t).__name__ for t in applied.transforms] == [
        "ResizeTransform",
        "HFlipTransform",
        "HFlipTransform",
    ]
    np.testing.assert_array_equal(data.boxes, [[0, 0, 30, 20]])


def test_list_refuses_what_is_neither_policy_nor_transform():
    with pytest.raises(TypeError, match="wanted an Augmentation or a Transform, got 'flip'"):
        T.AugmentationList(["flip"])


@pytest.mark.parametrize("bad", [None, [1, 2], np.zeros(3), np.zeros((1, 2, 3, 4))])
def test_input_wants_one_image(bad):
    with pytest.raises(TypeError, match=r"\(H, W\) or \(H, W, C\)"):
        T.AugInput(bad)


@MODEST
@given(SIZES, SIZES, st.integers(1, 300), st.integers(1, 400))
def test_shortest_edge_meets_the_size_or_the_limit(h, w, size, limit):
    new_h, new_w = T.ResizeShortestEdge.get_output_shape(h, w, size, limit)
    assert max(new_h, new_w) <= limit or abs(max(new_h, new_w) - limit) <= 0.5
    if max(new_h, new_w) < limit:
        assert min(new_h, new_w) == size
    assert abs(new_h - h * new_w / w) <= 1 + 0.5 * h / w


def test_shortest_edge_draws_from_the_interval_or_the_list():
    np.random.seed(0)
    heights = {T.ResizeShortestEdge((8, 10)).get_transform(blank(20, 30)).new_h for _ in range(60)}
    assert heights == {8, 9, 10}
    policy = T.ResizeShortestEdge((8, 10), sample_style="choice")
    assert {policy.get_transform(blank(20, 30)).new_h for _ in range(60)} == {8, 10}


def test_size_zero_keeps_the_image():
    assert isinstance(T.ResizeShortestEdge(0).get_transform(IMAGE), T.NoOpTransform)


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


@MODEST
@given(SIZES, SIZES, st.floats(0.2, 2))
def test_resize_scale_fits_the_scaled_box(h, w, scale):
    resize = T.ResizeScale(scale, scale, 80, 100).get_transform(blank(h, w))
    assert resize.new_h <= 80 * scale + 0.5
    assert resize.new_w <= 100 * scale + 0.5
    assert resize.new_h >= 80 * scale - 0.5 or resize.new_w >= 100 * scale - 0.5


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


def test_rotation_draws_its_centre_relative_to_the_image():
    policy = T.RandomRotation([10, 20], expand=False, center=[[0.25, 0.5], [0.25, 0.5]])
    rotation = policy.get_transform(IMAGE)
    assert 10 <= rotation.angle < 20
    np.testing.assert_allclose(rotation.center, [15, 20])
    chosen = T.RandomRotation([30], False, [[0.5, 0.25]], "choice").get_transform(IMAGE)
    np.testing.assert_allclose(chosen.center, [30, 10])
    assert chosen.angle == 30
    assert isinstance(T.RandomRotation(360).get_transform(IMAGE), T.NoOpTransform)


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
    ("make", "message"),
    [
        (lambda: T.RandomFlip(1.5), r"prob must lie in \[0, 1\], got 1.5"),
        (lambda: T.RandomFlip(horizontal=True, vertical=True), "use two RandomFlips"),
        (lambda: T.RandomFlip(horizontal=False), "horizontal=False, vertical=False"),
        (lambda: T.RandomApply(T.RandomFlip(), -1), "RandomApply: prob"),
        (lambda: T.Resize((0, 5)), r"positive \(h, w\)"),
        (lambda: T.ResizeShortestEdge((1, 2, 3)), "use 'choice' for a list of sizes"),
        (lambda: T.ResizeShortestEdge(5, sample_style="any"), "'range' or 'choice', got 'any'"),
        (lambda: T.ResizeShortestEdge([], sample_style="choice"), "is empty"),
        (lambda: T.RandomCrop("exact", (1, 1)), "crop_type is one of"),
        (lambda: T.RandomCrop("relative", (1.5, 1)), r"lies in \(0, 1\]"),
        (lambda: T.RandomCrop("absolute", (1, 2, 3)), "two numbers"),
        (lambda: T.RandomCrop("absolute_range", (9, 2)), r"\(min, max\)"),
        (lambda: T.FixedSizeCrop((1,)), r"\(height, width\)"),
        (lambda: T.RandomRotation([1, 2, 3]), r"angle must be \[min, max\]"),
        (lambda: T.RandomRotation(1, sample_style="any"), "got 'any'"),
        (lambda: T.RandomContrast(2, 1), "RandomContrast: intensity_min 2 exceeds"),
        (lambda: T.RandomSaturation(1, 1).get_transform(IMAGE[..., 0]), "RandomSaturation wants"),
        (lambda: T.RandomLighting(1).get_transform(IMAGE[..., :2]), "RandomLighting wants"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [T.ColorTransform, T.PILColorTransform])
def test_color_transform_wants_a_function(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__} wants a function"):
        kind("invert")
