"""Geometry of each transform: images, points and inverses agree with each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import transforms as T
from d2_data.transforms.polygon_clipping import clip_polygon

H, W = 24, 36
MODEST = settings(max_examples=25, deadline=None)


def blob(x, y, size=(H, W), dtype=np.uint8):
    """A bright square of 3×3 pixels centred on pixel-centre (x, y)."""
    image = np.zeros((*size, 3), dtype)
    image[y - 1 : y + 2, x - 1 : x + 2] = 200
    return image


def centre(image):
    """Centre of brightness (x, y) in continuous coordinates."""
    weights = np.asarray(image, dtype=float).reshape(*image.shape[:2], -1).sum(axis=2)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()


TRANSFORMS = {
    "hflip": T.HFlipTransform(W),
    "vflip": T.VFlipTransform(H),
    "crop": T.CropTransform(5, 3, 28, 20, orig_w=W, orig_h=H),
    "pad": T.PadTransform(2, 3, 4, 5, orig_w=W, orig_h=H),
    "resize_up": T.ResizeTransform(H, W, 48, 90),
    "resize_down": T.ResizeTransform(H, W, 15, 20),
    "resize_bicubic": T.ResizeTransform(H, W, 48, 90, interp=3),
    "scale": T.ScaleTransform(H, W, 48, 90),
    "extent": T.ExtentTransform((-3, -2, 33, 25), (27, 36)),
    "rotate": T.RotationTransform(H, W, 30),
    "rotate_same_size": T.RotationTransform(H, W, -20, expand=False),
    "list": T.TransformList([T.HFlipTransform(W), T.ResizeTransform(H, W, 30, 50)]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_image_moves_as_its_points_do(name, dtype):
    transform = TRANSFORMS[name]
    image = blob(20, 11, dtype=dtype)
    moved = transform.apply_image(image)
    assert moved.dtype == dtype
    expected = transform.apply_coords(centre(image)[None])[0]
    # Shrinking floating-point images skips pixels: there is no antialiasing.
    tolerance = 0.5 if name == "resize_down" and dtype is np.float32 else 0.15
    np.testing.assert_allclose(centre(moved), expected, atol=tolerance)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_segmentation_moves_with_the_image_and_mixes_no_labels(name, dtype):
    transform = TRANSFORMS[name]
    labels = np.zeros((H, W), dtype)
    labels[8:15, 16:25] = 7 if dtype is not bool else True
    moved = transform.apply_segmentation(labels)
    assert moved.dtype == dtype
    assert moved.shape == transform.apply_image(np.zeros((H, W, 3), np.uint8)).shape[:2]
    assert set(np.unique(moved)) <= set(np.unique(labels))
    expected = transform.apply_coords(centre(labels)[None])[0]
    np.testing.assert_allclose(centre(moved), expected, atol=0.6)


@pytest.mark.parametrize("name", [n for n in TRANSFORMS if n not in ("extent", "rotate")])
@MODEST
@given(st.lists(st.tuples(st.floats(-50, 80), st.floats(-50, 80)), min_size=1, max_size=5))
def test_inverse_brings_points_back(name, points):
    transform = TRANSFORMS[name]
    points = np.array(points)
    back = transform.inverse().apply_coords(transform.apply_coords(points))
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_inverse_of_an_expanding_rotation_restores_size_and_place():
    rotation = TRANSFORMS["rotate"]
    image = blob(20, 11)
    back = rotation.inverse().apply_image(rotation.apply_image(image))
    assert back.shape == image.shape
    np.testing.assert_allclose(centre(back), centre(image), atol=0.6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_inputs_stay_as_they_are(name):
    transform = TRANSFORMS[name]
    points, image = np.ones((3, 2)), blob(20, 11)
    before = image.copy()
    transform.apply_coords(points)
    transform.apply_image(image)
    np.testing.assert_array_equal(points, np.ones((3, 2)))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", ["hflip", "vflip", "crop", "pad", "scale"])
def test_stack_of_images_is_transformed_one_by_one(name):
    transform = TRANSFORMS[name]
    stack = np.stack([blob(20, 11), blob(10, 12)])
    expected = np.stack([transform.apply_image(image) for image in stack])
    np.testing.assert_array_equal(transform.apply_image(stack), expected)


@pytest.mark.parametrize("name", ["crop", "pad"])
def test_inverse_without_the_size_before_says_what_is_missing(name):
    transform = type(TRANSFORMS[name])(1, 2, 3, 4)
    with pytest.raises(ValueError, match="orig_w and orig_h"):
        transform.inverse()


@pytest.mark.parametrize("name", ["resize_up", "scale", "rotate"])
def test_image_of_another_size_is_refused(name):
    with pytest.raises(ValueError, match=r"height 24 and width 36, got an array of shape \(5, 6"):
        TRANSFORMS[name].apply_image(np.zeros((5, 6, 3), np.uint8))


def test_padding_uses_its_own_value_for_labels():
    pad = T.PadTransform(1, 0, 0, 0, pad_value=9, seg_pad_value=255)
    assert pad.apply_image(np.zeros((2, 2, 3), np.uint8))[0, 0].tolist() == [9, 9, 9]
    assert pad.apply_segmentation(np.zeros((2, 2), np.uint8))[0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("interp", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_uint8_resize_equals_pillow_to_one_level(interp, channels):
    shape = (30, 41) if channels is None else (30, 41, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ours = T.ResizeTransform(30, 41, 44, 23, interp).apply_image(image)
    planes = [image] if channels is None else np.moveaxis(image, 2, 0)
    pillow = [np.asarray(Image.fromarray(p.copy()).resize((23, 44), interp)) for p in planes]
    expected = pillow[0] if channels is None else np.stack(pillow, axis=2)
    assert ours.shape == expected.shape
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1


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


def rotated_box_corners(boxes):
    cx, cy, w, h, angle = boxes.T
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    corners = []
    for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        dx, dy = sx * w / 2, sy * h / 2
        corners.append(np.stack([cx + cos * dx + sin * dy, cy - sin * dx + cos * dy], axis=1))
    return np.stack(corners, axis=1)


@pytest.mark.parametrize(
    "transform",
    [T.HFlipTransform(W), T.VFlipTransform(H), T.ResizeTransform(H, W, 2 * H, 2 * W)],
    ids=repr,
)
def test_rotated_boxes_move_as_their_corners_do(transform):
    boxes = np.array([[10.0, 8.0, 6.0, 3.0, 30.0], [20.0, 10.0, 2.0, 5.0, -75.0]])
    moved = rotated_box_corners(transform.apply_rotated_box(boxes))
    expected = transform.apply_coords(rotated_box_corners(boxes).reshape(-1, 2)).reshape(-1, 4, 2)
    for ours, theirs in zip(moved, expected, strict=True):
        order, other = np.lexsort(ours.round(6).T), np.lexsort(theirs.round(6).T)
        np.testing.assert_allclose(ours[order], theirs[other], atol=1e-9)


def test_unequal_scaling_of_an_unrotated_box_is_exact():
    scaled = T.ResizeTransform(10, 10, 20, 40).apply_rotated_box(np.array([[5.0, 5, 4, 2, 0]]))
    np.testing.assert_allclose(scaled, [[20, 10, 16, 4, 0]], atol=1e-12)


@pytest.mark.parametrize("angle", [0, 360, -720])
def test_full_turns_do_nothing(angle):
    image = blob(20, 11)
    rotation = T.RotationTransform(H, W, angle)
    assert rotation.apply_image(image) is image
    np.testing.assert_array_equal(rotation.apply_coords([[1, 2]]), [[1, 2]])


def test_quarter_turn_is_exact_and_counter_clockwise():
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    rotated = T.RotationTransform(H, W, 90).apply_image(image)
    np.testing.assert_array_equal(rotated, np.rot90(image))


def test_rotation_about_a_given_centre_keeps_it():
    rotation = T.RotationTransform(H, W, 50, expand=False, center=(10, 7))
    np.testing.assert_allclose(rotation.apply_coords([[10, 7]]), [[10, 7]])
    assert rotation.apply_image(blob(20, 11)).shape == (H, W, 3)


def test_rotation_matrix_of_pixel_indices_is_half_a_pixel_off():
    rotation = T.RotationTransform(H, W, 50)
    index = np.array([3.0, 4.0, 1.0])
    continuous = rotation.apply_coords([[3.5, 4.5]])[0]
    np.testing.assert_allclose(rotation.create_rotation_matrix(-0.5) @ index, continuous - 0.5)


def test_rotation_refuses_other_interpolations():
    with pytest.raises(ValueError, match=r"interp must be 0 .* got 7"):
        T.RotationTransform(H, W, 5, interp=7)


def test_identity_grid_keeps_the_image():
    ys, xs = np.meshgrid(
        (np.arange(H) + 0.5) / H * 2 - 1, (np.arange(W) + 0.5) / W * 2 - 1, indexing="ij"
    )
    grid = np.stack([xs, ys], axis=-1)[None]
    image = blob(20, 11, dtype=np.float32)
    for interp in ("nearest", "bilinear"):
        transform = T.GridSampleTransform(grid, interp)
        np.testing.assert_allclose(transform.apply_image(image), image, atol=1e-3)
    labels = np.arange(H * W).reshape(H, W).astype(np.int32)
    np.testing.assert_array_equal(transform.apply_segmentation(labels), labels)
    with pytest.raises(NotImplementedError, match="cannot move points"):
        transform.apply_coords(np.zeros((1, 2)))


def test_grid_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(N, H, W, 2\) grid, got \(3, 2\)"):
        T.GridSampleTransform(np.zeros((3, 2)), "nearest")


def area(polygon):
    x, y = polygon.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@MODEST
@given(
    st.integers(3, 12),
    st.floats(2, 20),
    st.tuples(st.floats(0, 30), st.floats(0, 30)),
    st.randoms(use_true_random=False),
)
def test_clipped_star_covers_the_pixels_of_the_star_in_the_window(n, radius, middle, rng):
    from d2_ops.host import polygons_to_bitmask

    angles = np.sort([rng.uniform(0, 2 * np.pi) for _ in range(n)])
    radii = np.array([rng.uniform(0.2, 1) * radius for _ in range(n)])
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] + middle
    crop = T.CropTransform(8, 6, 16, 18)
    clipped = crop.apply_polygons([star])
    drawn = polygons_to_bitmask([p.reshape(-1) for p in clipped], 18, 16) if clipped else 0
    whole = polygons_to_bitmask([(star + 40).reshape(-1)], 120, 120)[46:64, 48:64]
    # The rasteriser rounds vertices: borders may differ by one pixel.
    assert abs(int(np.sum(drawn)) - int(whole.sum())) <= 2 + 4 * n
    for polygon in clipped:
        assert polygon.min() >= 0
        assert (polygon.max(axis=0) <= [16, 18]).all()


def test_polygon_inside_the_window_is_untouched_and_outside_disappears():
    square = np.array([[2.0, 2.0], [4.0, 2.0], [4.0, 4.0], [2.0, 4.0]])
    np.testing.assert_array_equal(clip_polygon(square, (0, 0, 10, 10)), square)
    assert len(clip_polygon(square, (5, 5, 10, 10))) == 0
    assert len(clip_polygon(square, (4, 0, 10, 10))) == 0
    assert area(clip_polygon(square, (3, 3, 10, 10))) == 1


def test_polygon_that_falls_apart_keeps_its_area():
    comb = np.array([[0, 0], [9, 0], [9, 6], [6, 6], [6, 3], [3, 3], [3, 6], [0, 6.0]])
    clipped = clip_polygon(comb, (0, 4, 9, 9))
    assert area(clipped) == pytest.approx(2 * 3 * 2)


def test_crop_leaves_out_polygons_that_are_outside():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    crop = T.CropTransform(10, 10, 5, 5)
    assert crop.apply_polygons([square]) == []
    (kept,) = crop.apply_polygons([square, square + 11])
    np.testing.assert_array_equal(kept, square + 1)
