"""What every transform promises: images, points, boxes, masks and inverses agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import transforms as T
from d2_ops.host import polygons_to_bitmask

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
    "extent": T.ExtentTransform((-3, -2, 33, 25), (27, 36), input_size=(H, W)),
    "rotate": T.RotationTransform(H, W, 30),
    "rotate_same_size": T.RotationTransform(H, W, -20, expand=False),
    "list": T.TransformList([T.HFlipTransform(W), T.ResizeTransform(H, W, 30, 50)]),
}

POLICIES = {
    "Resize": T.Resize((30, 20)),
    "ResizeShortestEdge": T.ResizeShortestEdge((10, 30), 60),
    "ResizeScale": T.ResizeScale(0.5, 2, 30, 30),
    "RandomFlip": T.RandomFlip(1.0),
    "RandomFlip_vertical": T.RandomFlip(1.0, horizontal=False, vertical=True),
    "RandomApply": T.RandomApply(T.RandomFlip(1.0), 1.0),
    "RandomCrop": T.RandomCrop("relative", (0.6, 0.5)),
    "RandomCrop_range": T.RandomCrop("absolute_range", (10, 20)),
    "RandomCrop_CategoryAreaConstraint": T.RandomCrop_CategoryAreaConstraint(
        "relative", (0.6, 0.5), 0.9
    ),
    "FixedSizeCrop": T.FixedSizeCrop((30, 20)),
    "RandomExtent": T.RandomExtent((0.6, 1.5), (0.4, 0.4)),
    "RandomRotation": T.RandomRotation([-60, 60], expand=False),
    "RandomBrightness": T.RandomBrightness(0.5, 1.5),
    "RandomContrast": T.RandomContrast(0.5, 1.5),
    "RandomSaturation": T.RandomSaturation(0.5, 1.5),
    "RandomLighting": T.RandomLighting(0.1),
    "LargeScaleJitter": T.LargeScaleJitter((30, 20)),
    "ColorAugSSD": T.ColorAugSSD("BGR"),
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


@pytest.mark.parametrize("name", TRANSFORMS)
@MODEST
@given(
    st.tuples(st.floats(3, W - 12), st.floats(3, H - 9), st.floats(4, 8), st.floats(4, 6)),
    st.floats(0, 1),
)
def test_box_encloses_the_pixels_of_its_object_and_little_more(name, box, shear):
    transform = TRANSFORMS[name]
    x, y, width, height = box
    # A parallelogram that touches all four sides of the box.
    outline = np.array(
        [
            [x, y],
            [x + width * shear, y],
            [x + width, y + height],
            [x + width * (1 - shear), y + height],
        ]
    )
    moved = transform.apply_polygons([outline])
    size = transform.apply_image(np.zeros((H, W, 3), np.uint8)).shape[:2]
    fine = 4
    mask = np.zeros((size[0] * fine, size[1] * fine), bool)
    if moved:
        flat = [polygon.reshape(-1) * fine for polygon in moved]
        mask = polygons_to_bitmask(flat, *mask.shape).astype(bool)
    if mask.sum() < 4 * fine * fine:
        return
    rows, columns = np.nonzero(mask)
    drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / fine
    corners = np.array([[x, y, x + width, y + height]])
    found = np.clip(transform.apply_box(corners)[0], 0, [size[1], size[0]] * 2)
    # The rasteriser rounds, and leaves out corners thinner than its pixel.
    assert (drawn[:2] >= found[:2] - 1 / fine - 1e-6).all()
    assert (drawn[2:] <= found[2:] + 1 / fine + 1e-6).all()
    if "rotate" not in name:
        slack = 1.5 if shear not in (0.0, 1.0) else 1.0
        scale = (found[2:] - found[:2]).max() / max(width, height)
        np.testing.assert_allclose(drawn, found, atol=slack * max(scale, 1) + 0.5)


@pytest.mark.parametrize("name", TRANSFORMS)
@MODEST
@given(st.lists(st.tuples(st.floats(-50, 80), st.floats(-50, 80)), min_size=1, max_size=5))
def test_inverse_brings_points_back(name, points):
    transform = TRANSFORMS[name]
    points = np.array(points)
    back = transform.inverse().apply_coords(transform.apply_coords(points))
    # An expanding rotation is cut back to whole pixels.
    np.testing.assert_allclose(back, points, atol=1.0 if name == "rotate" else 1e-9)


COLOURS = {
    "NoOpTransform": T.NoOpTransform(),
    "BlendTransform": T.BlendTransform(0, 0.5, 0.5),
    "ColorTransform": T.ColorTransform(lambda image: image // 2),
    "PILColorTransform": T.PILColorTransform(lambda image: image.point(lambda value: value // 2)),
}


@pytest.mark.parametrize("name", COLOURS)
def test_changes_of_colour_move_nothing_and_their_inverse_does_nothing(name):
    transform = COLOURS[name]
    points, boxes, turned = np.ones((3, 2)), np.ones((2, 4)), np.array([[5.0, 6, 3, 2, 40]])
    labels, inverse = blob(20, 11)[..., 0], transform.inverse()
    np.testing.assert_array_equal(inverse.apply_image(labels), labels)
    for step in (transform, inverse):
        np.testing.assert_array_equal(step.apply_coords(points), points)
        np.testing.assert_array_equal(step.apply_box(boxes), boxes)
        np.testing.assert_array_equal(step.apply_segmentation(labels), labels)
        np.testing.assert_allclose(step.apply_rotated_box(turned), turned, atol=1e-12)
        np.testing.assert_array_equal(step.apply_polygons([points])[0], points)


def test_sampling_at_given_places_has_no_way_back_and_says_so():
    one_way = T.GridSampleTransform(np.zeros((1, 4, 4, 2)), "nearest")
    with pytest.raises(NotImplementedError, match="GridSampleTransform has no inverse"):
        one_way.inverse()


def test_every_transform_and_policy_that_is_listed_is_inverted_here():
    listed = {name: getattr(T, name) for name in T.__all__}
    inverted = {type(transform) for transform in [*TRANSFORMS.values(), *COLOURS.values()]}
    chosen = {type(policy) for policy in POLICIES.values()}
    for name, kind in listed.items():
        if issubclass(kind, T.Transform):
            assert kind in {*inverted, T.Transform, T.GridSampleTransform}, name
        elif issubclass(kind, T.Augmentation):
            assert kind in {*chosen, T.Augmentation, T.AugmentationList}, name


@pytest.mark.parametrize("name", POLICIES)
@MODEST
@given(st.integers(0, 999))
def test_what_a_policy_chooses_can_be_inverted(name, seed):
    np.random.seed(seed)
    classes = np.zeros((H, W), np.uint8)
    classes[:, W // 2 :] = 1
    data = T.AugInput(blob(20, 11), boxes=np.array([[3.0, 4.0, 20.0, 11.0]]), sem_seg=classes)
    transform = T.AugmentationList([POLICIES[name]])(data)
    inverse = transform.inverse()
    points = np.array([[20.5, 11.5], [0.0, 0.0], [30.0, 5.0]])
    np.testing.assert_allclose(
        inverse.apply_coords(transform.apply_coords(points)), points, atol=1e-9
    )
    labels = np.ones((H, W), np.uint8)
    back = inverse.apply_segmentation(transform.apply_segmentation(labels))
    assert back.shape == labels.shape


@pytest.mark.parametrize("name", TRANSFORMS)
def test_inputs_stay_as_they_are(name):
    transform = TRANSFORMS[name]
    points, image, rotated = np.ones((3, 2)), blob(20, 11), np.ones((2, 5))
    before = image.copy()
    transform.apply_coords(points)
    transform.apply_image(image)
    transform.apply_rotated_box(rotated)
    np.testing.assert_array_equal(points, np.ones((3, 2)))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(rotated, np.ones((2, 5)))


@pytest.mark.parametrize("name", ["hflip", "vflip", "crop", "pad", "scale"])
def test_stack_of_images_is_transformed_one_by_one(name):
    transform = TRANSFORMS[name]
    stack = np.stack([blob(20, 11), blob(10, 12)])
    expected = np.stack([transform.apply_image(image) for image in stack])
    np.testing.assert_array_equal(transform.apply_image(stack), expected)


@pytest.mark.parametrize(
    "transform",
    [
        T.CropTransform(1, 2, 3, 4),
        T.PadTransform(1, 2, 3, 4),
        T.ExtentTransform((0, 0, 3, 3), (4, 4)),
    ],
    ids=repr,
)
def test_inverse_without_the_size_before_says_what_is_missing(transform):
    with pytest.raises(ValueError, match=r"orig_w and orig_h|input_size=\(height, width\)"):
        transform.inverse()


@pytest.mark.parametrize("name", ["resize_up", "scale", "rotate"])
def test_image_of_another_size_is_refused(name):
    with pytest.raises(ValueError, match=r"height 24 and width 36, got an array of shape \(5, 6"):
        TRANSFORMS[name].apply_image(np.zeros((5, 6, 3), np.uint8))


def corners_of(boxes):
    """(N, 4, 2) corners of rotated boxes."""
    cx, cy, w, h, angle = boxes.T
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    corners = []
    for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        dx, dy = sx * w / 2, sy * h / 2
        corners.append(np.stack([cx + cos * dx + sin * dy, cy - sin * dx + cos * dy], axis=1))
    return np.stack(corners, axis=1)


ROTATED = st.tuples(
    st.floats(-20, 50), st.floats(-20, 50), st.floats(0, 30), st.floats(0, 30), st.floats(-400, 400)
)
KEEP_SHAPES = {
    name: transform
    for name, transform in TRANSFORMS.items()
    if not name.startswith(("resize", "scale", "list", "extent"))
} | {
    "resize_equally": T.ResizeTransform(H, W, 2 * H, 2 * W),
    "extent_equally": T.ExtentTransform((-3, -2, 33, 25), (54, 72)),
    "mirrored_and_turned": T.TransformList([T.VFlipTransform(H), T.RotationTransform(H, W, 70)]),
}


@pytest.mark.parametrize("name", KEEP_SHAPES)
@MODEST
@given(ROTATED)
def test_rotated_boxes_move_as_their_corners_do(name, box):
    transform = KEEP_SHAPES[name]
    boxes = np.array([box])
    moved = corners_of(transform.apply_rotated_box(boxes))[0]
    expected = transform.apply_coords(corners_of(boxes)[0])
    distances = np.linalg.norm(moved[:, None] - expected[None], axis=2)
    np.testing.assert_allclose(distances.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
@MODEST
@given(ROTATED)
def test_unequal_scales_keep_centre_middle_lines_and_upright_boxes(name, box):
    transform = TRANSFORMS[name]
    boxes = np.array([box, [*box[:4], 0.0]])
    turned, upright = transform.apply_rotated_box(boxes)
    np.testing.assert_allclose(turned[:2], transform.apply_coords(boxes[:1, :2])[0], atol=1e-9)
    corners = transform.apply_coords(corners_of(boxes)[0])
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    np.testing.assert_allclose(turned[2:4], sides[:2], atol=1e-6)
    if "rotate" not in name:
        x, y, width, height, angle = upright
        x0, y0, x1, y1 = transform.apply_box(
            np.array(
                [
                    [
                        box[0] - box[2] / 2,
                        box[1] - box[3] / 2,
                        box[0] + box[2] / 2,
                        box[1] + box[3] / 2,
                    ]
                ]
            )
        )[0]
        expected = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
        np.testing.assert_allclose([x, y, width, height], expected, atol=1e-6)
        assert abs(angle) % 180 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_no_rotated_boxes_stay_none_and_keep_their_type(name):
    empty = np.zeros((0, 5), np.float32)
    moved = TRANSFORMS[name].apply_rotated_box(empty)
    assert moved.shape == (0, 5)
    assert moved.dtype == np.float32


def test_angles_lie_within_half_a_turn_and_survive_boxes_without_height():
    boxes = np.array([[5.0, 5, 4, 0, 725.0]])
    turned = T.RotationTransform(H, W, 100, expand=False).apply_rotated_box(boxes)
    assert turned[0, 4] == pytest.approx(105)
    turned = T.RotationTransform(H, W, 100, expand=False).apply_rotated_box(turned)
    assert turned[0, 4] == pytest.approx(-155)
