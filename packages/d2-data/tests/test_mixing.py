"""Mosaic, mix-up and copy-paste: what they draw, and where everything comes to lie."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.mixing import CopyPaste, Mix, MixUp, Mosaic
from d2_data.rotated_corners import rotated_corners
from d2_structures import (
    BitMasks,
    Boxes,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
    polygons_to_bitmask,
)

MODEST = settings(max_examples=25, deadline=None)
FORMATS = ("bitmask", "polygon")


def sample(size, rectangles, mask_format="bitmask", *, keypoints=False, level=0):
    """A picture of rectangles (x0, y0, x1, y1); object k has the level ``level + k + 1``."""
    height, width = size
    image = torch.full((3, height, width), level, dtype=torch.uint8)
    masks = torch.zeros((len(rectangles), height, width), dtype=torch.bool)
    labels = torch.zeros((height, width), dtype=torch.int64)
    for k, (x0, y0, x1, y1) in enumerate(rectangles):
        masks[k, y0:y1, x0:x1] = True
        image[:, y0:y1, x0:x1] = level + k + 1
        labels[y0:y1, x0:x1] = level + k + 1
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(np.array(rectangles, np.float32).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(rectangles)) + level + 1
    if mask_format == "bitmask":
        instances.gt_masks = BitMasks(masks)
    elif mask_format == "polygon":
        instances.gt_masks = PolygonMasks(
            [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in rectangles]
        )
    if keypoints and rectangles:
        corner_points = [
            [[x0 + 0.5, y0 + 0.5, 2], [x1 - 0.5, y1 - 0.5, 2]] for x0, y0, x1, y1 in rectangles
        ]
        instances.gt_keypoints = Keypoints(corner_points)
    return {"image": image, "instances": instances, "sem_seg": labels}


def drawing(*samples):
    """A ``draw`` that gives these samples in turn."""
    return iter(samples).__next__


def bitmaps(mixed):
    masks = mixed["instances"].gt_masks
    if isinstance(masks, BitMasks):
        return masks.tensor.numpy()
    size = mixed["image"].shape[1:]
    return np.array([polygons_to_bitmask(p, *size) for p in masks.polygons], bool).reshape(
        len(masks), *size
    )


def check_agreement(mixed, *, tight=True):
    """Boxes, masks, image and labels tell of the same objects in the same places."""
    instances, image = mixed["instances"], mixed["image"][0].numpy()
    assert instances.image_size == tuple(mixed["image"].shape[1:]) == tuple(mixed["sem_seg"].shape)
    masks = bitmaps(mixed)
    assert masks.any(axis=(1, 2)).all(), "an object of which nothing is left"
    for mask, box, level in zip(
        masks, instances.gt_boxes.tensor.numpy(), instances.gt_classes.tolist(), strict=True
    ):
        ys, xs = np.nonzero(mask)
        drawn = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        if tight:
            np.testing.assert_array_equal(box, drawn)
        assert (image[mask] == level).all()
        assert (mixed["sem_seg"].numpy()[mask] == level).all()


def apart(rectangles):
    """Those that overlap none before, so that the picture shows each whole."""
    kept = []
    for x0, y0, x1, y1 in rectangles:
        if all(x1 <= a0 or a1 <= x0 or y1 <= b0 or b1 <= y0 for a0, b0, a1, b1 in kept):
            kept.append((x0, y0, x1, y1))
    return kept


@st.composite
def pictures(draw, mask_format, level, keypoints=False):
    height, width = draw(st.integers(6, 30)), draw(st.integers(6, 30))
    rectangles = []
    for _ in range(draw(st.integers(0, 4))):
        x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
        x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
        rectangles.append((x0, y0, x1, y1))
    return sample((height, width), apart(rectangles), mask_format, keypoints=keypoints, level=level)


# Mosaic


@pytest.mark.parametrize("mask_format", FORMATS)
@MODEST
@given(st.data(), st.integers(0, 2**32 - 1))
def test_boxes_masks_labels_and_pixels_of_a_mosaic_agree(mask_format, data, seed):
    parts = [data.draw(pictures(mask_format, level=40 * k, keypoints=True)) for k in range(4)]
    np.random.seed(seed)
    mixed = Mosaic((24, 32), pad_value=200).mix(parts[0], drawing(*parts[1:]))
    assert mixed["image"].shape == (3, 24, 32)
    check_agreement(mixed)
    bare = mixed["image"][0] == 200
    assert (mixed["sem_seg"][bare] == 255).all()


def test_mosaic_puts_one_corner_of_each_picture_at_the_centre():
    parts = [sample((10, 10), [(0, 0, 10, 10)], level=10 * k) for k in range(4)]
    mosaic = Mosaic((12, 16), center_range=(0.5, 0.5))
    mixed = mosaic.mix(parts[0], drawing(*parts[1:]))
    levels = mixed["image"][0]
    assert [int(levels[y, x]) for y, x in ((5, 7), (5, 8), (6, 7), (6, 8))] == [1, 11, 21, 31]
    expected = [[0, 0, 8, 6], [8, 0, 16, 6], [0, 6, 8, 12], [8, 6, 16, 12]]
    assert mixed["instances"].gt_boxes.tensor.tolist() == expected


def test_small_pictures_leave_the_mosaic_bare():
    parts = [sample((2, 3), [(0, 0, 3, 2)], level=10 * k) for k in range(4)]
    mixed = Mosaic((12, 16), center_range=(0.5, 0.5)).mix(parts[0], drawing(*parts[1:]))
    assert mixed["instances"].gt_boxes.tensor.tolist() == [
        [5, 4, 8, 6],
        [8, 4, 11, 6],
        [5, 6, 8, 8],
        [8, 6, 11, 8],
    ]
    assert int((mixed["image"][0] == 128).sum()) == 12 * 16 - 4 * 6


def test_keypoints_that_the_mosaic_cuts_off_are_unlabelled():
    part = sample((10, 10), [(0, 0, 10, 10)], keypoints=True)
    blank = sample((10, 10), [])
    mixed = Mosaic((12, 12), center_range=(0.5, 0.5)).mix(part, drawing(blank, blank, blank))
    # The lower right 6 x 6 of the picture is at the upper left of the canvas.
    assert mixed["instances"].gt_keypoints.tensor.tolist() == [[[0, 0, 0], [5.5, 5.5, 2]]]


def test_boxes_without_masks_are_cut_at_the_canvas():
    part = sample((10, 10), [(0, 0, 10, 10), (0, 0, 3, 3)], mask_format=None)
    blank = sample((10, 10), [], mask_format=None)
    mixed = Mosaic((12, 12), center_range=(0.5, 0.5)).mix(part, drawing(blank, blank, blank))
    assert mixed["instances"].gt_boxes.tensor.tolist() == [[0, 0, 6, 6]]
    assert mixed["instances"].gt_classes.tolist() == [1]


def test_cut_concave_object_has_the_box_of_what_is_left():
    # A hook whose upper arm reaches right, and whose foot is short.
    hook = [[0, 0, 10, 0, 10, 2, 2, 2, 2, 10, 0, 10]]
    part = sample((10, 10), [(0, 0, 10, 10)], mask_format="polygon")
    part["instances"].gt_masks = PolygonMasks([hook])
    blank = sample((10, 10), [], mask_format="polygon")
    # The lower left quadrant of the canvas shows the upper right 6 x 6 of a picture.
    mixed = Mosaic((12, 12), center_range=(0.5, 0.5)).mix(blank, drawing(blank, part, blank))
    assert mixed["instances"].gt_boxes.tensor.tolist() == [[0, 6, 6, 8]]


@MODEST
@given(st.floats(1, 29), st.floats(1, 19), st.floats(1, 15), st.floats(1, 15), st.floats(-180, 179))
def test_rotated_boxes_move_along_and_vanish_outside(x, y, width, height, angle):
    part = sample((20, 30), [(0, 0, 1, 1)], mask_format=None)
    part["instances"].gt_boxes = RotatedBoxes([[x, y, width, height, angle]])
    blank = sample((20, 30), [], mask_format=None)
    mixed = Mosaic((16, 20), center_range=(0.5, 0.5)).mix(part, drawing(blank, blank, blank))
    moved = rotated_corners(np.array([x - 20, y - 12, width, height, angle]))
    boxes = mixed["instances"].gt_boxes
    if len(boxes):
        if abs(angle) > 1:
            np.testing.assert_allclose(boxes.tensor[0, :2], [x - 20, y - 12], atol=1e-4)
            np.testing.assert_allclose(boxes.tensor[0, 2:4], [width, height], atol=1e-4)
    else:
        grid = np.stack(np.meshgrid(np.arange(-0.01, 10, 0.25), np.arange(-0.01, 8, 0.25)), -1)
        inside = np.ones(grid.shape[:2], bool)
        for here, there in zip(moved, np.roll(moved, -1, axis=0), strict=True):
            edge, to = there - here, grid - here
            inside &= edge[0] * to[..., 1] - edge[1] * to[..., 0] > 1e-3
        assert not inside[1:, 1:].any()


def test_record_s_size_becomes_that_of_the_canvas():
    parts = [{**sample((10, 10), []), "height": 100, "width": 100} for _ in range(4)]
    mixed = Mosaic((12, 16)).mix(parts[0], drawing(*parts[1:]))
    assert (mixed["height"], mixed["width"]) == (12, 16)


# Mix-up


@MODEST
@given(st.data(), st.integers(0, 2**32 - 1))
def test_mixup_keeps_every_object_where_it_was(data, seed):
    first, second = (data.draw(pictures("bitmask", level=40 * k)) for k in range(2))
    np.random.seed(seed)
    mixed = MixUp(alpha=1.0).mix(first, drawing(second))
    boxes = [*first["instances"].gt_boxes.tensor, *second["instances"].gt_boxes.tensor]
    assert mixed["instances"].gt_boxes.tensor.tolist() == [box.tolist() for box in boxes]
    drawn = mixed["instances"].gt_masks.get_bounding_boxes().tensor.tolist()
    assert drawn == [box.tolist() for box in boxes]
    both = np.maximum(first["image"].shape[1:], second["image"].shape[1:])
    assert tuple(mixed["image"].shape[1:]) == tuple(both) == mixed["instances"].image_size


def test_mixup_blends_by_a_weight_and_keeps_the_labels_of_the_heavier():
    first, second = sample((4, 4), [], level=100), sample((4, 4), [(0, 0, 4, 4)], level=199)
    for seed in range(20):
        np.random.seed(seed)
        weight = np.random.beta(2.0, 2.0)
        np.random.seed(seed)
        mixed = MixUp(2.0).mix(first, drawing(second))
        expected = round(100 * weight + 200 * (1 - weight))
        assert abs(int(mixed["image"][0, 0, 0]) - expected) <= 1
        assert mixed["image"].dtype == torch.uint8
        assert int(mixed["sem_seg"][0, 0]) == (0 if weight >= 0.5 else 200)


# Copy-paste


@pytest.mark.parametrize("mask_format", FORMATS)
@MODEST
@given(st.data(), st.integers(0, 2**32 - 1))
def test_boxes_masks_labels_and_pixels_after_pasting_agree(mask_format, data, seed):
    first, second = (data.draw(pictures(mask_format, level=40 * k)) for k in range(2))
    before = {name: value.clone() for name, value in first.items() if name != "instances"}
    np.random.seed(seed)
    mixed = CopyPaste().mix(first, drawing(second))
    assert mixed["image"].shape == first["image"].shape
    check_agreement(mixed)
    # Every object that shows is labelled, and no mask lies over another.
    masks = bitmaps(mixed)
    assert (masks.sum(axis=0) <= 1).all()
    shown = mixed["image"][0].numpy() % 40 > 0
    np.testing.assert_array_equal(masks.any(axis=0) if len(masks) else np.zeros_like(shown), shown)
    for name, value in before.items():
        assert torch.equal(first[name], value)


@pytest.mark.parametrize("mask_format", FORMATS)
def test_pasted_object_cuts_those_below_and_hides_some(mask_format):
    own = sample((20, 20), [(2, 2, 12, 8), (5, 10, 7, 12)], mask_format, keypoints=True)
    other = sample((20, 20), [(4, 0, 20, 20)], mask_format, keypoints=True, level=40)
    mixed = CopyPaste().mix(own, drawing(other))
    instances = mixed["instances"]
    assert instances.gt_classes.tolist() == [1, 41]
    assert instances.gt_boxes.tensor.tolist() == [[2, 2, 4, 8], [4, 0, 20, 20]]
    # The covered corner is labelled, but not visible.
    assert instances.gt_keypoints.tensor[0].tolist() == [[2.5, 2.5, 2], [11.5, 7.5, 1]]


def test_object_around_a_pasted_one_keeps_its_box_and_has_a_hole():
    for mask_format in FORMATS:
        own = sample((20, 20), [(2, 2, 18, 18)], mask_format)
        other = sample((20, 20), [(6, 6, 10, 10)], mask_format, level=40)
        mixed = CopyPaste().mix(own, drawing(other))
        assert mixed["instances"].gt_boxes.tensor[0].tolist() == [2, 2, 18, 18]
        assert bitmaps(mixed)[0].sum() == 16 * 16 - 4 * 4


def test_objects_that_are_nearly_hidden_are_left_out_where_asked():
    own = sample((20, 20), [(0, 0, 10, 10)])
    other = sample((20, 20), [(1, 0, 20, 20)], level=40)
    assert len(CopyPaste(min_visible=0.1).mix(own, drawing(other))["instances"]) == 2
    assert len(CopyPaste(min_visible=0.2).mix(own, drawing(other))["instances"]) == 1


def test_number_of_pasted_objects_is_limited_where_asked():
    own = sample((20, 20), [])
    other = sample((20, 20), [(k, k, k + 1, k + 1) for k in range(15)])
    counts = set()
    for seed in range(30):
        np.random.seed(seed)
        counts.add(len(CopyPaste(max_objects=3).mix(own, drawing(other))["instances"]))
    assert counts == {1, 2, 3}


def test_pasting_nothing_leaves_the_sample():
    own = sample((20, 20), [(0, 0, 10, 10)])
    assert CopyPaste().mix(own, drawing(sample((9, 9), []))) is own


def test_pasting_needs_masks_and_says_where_they_come_from():
    own, without = sample((9, 9), []), sample((9, 9), [(0, 0, 5, 5)], mask_format=None)
    for pair in ((own, without), (without, own)):
        with pytest.raises(ValueError, match=r"needs samples .*'gt_masks'.*use_instance_mask=True"):
            CopyPaste().mix(pair[0], drawing(pair[1]))
    with pytest.raises(ValueError, match="the instances have none"):
        CopyPaste().mix({"image": own["image"]}, drawing(own))


# All of them


@pytest.mark.parametrize("mix", [Mosaic((8, 8)), MixUp(), CopyPaste()], ids=repr)
def test_sample_stays_as_it_is_unless_the_dice_say_so(mix):
    mix.prob = 0.0
    own = sample((9, 9), [(0, 0, 5, 5)])
    assert mix(own, drawing()) is own
    mix.prob = 1.0
    mixed = mix(own, drawing(*[sample((9, 9), [(0, 0, 5, 5)])] * 3))
    assert mixed is not own
    assert own["instances"].gt_boxes.tensor.tolist() == [[0, 0, 5, 5]]


@pytest.mark.parametrize("lacking", [0, 1, 2, 3])
def test_labels_of_pictures_without_any_are_ignored(lacking):
    parts = [sample((8, 8), [(0, 0, 8, 8)], level=3 * k) for k in range(4)]
    parts[lacking].pop("sem_seg")
    mixed = Mosaic((8, 8), center_range=(0.5, 0.5)).mix(parts[0], drawing(*parts[1:]))
    if lacking == 0:
        assert "sem_seg" not in mixed
    else:
        assert int((mixed["sem_seg"] == 255).sum()) == 16
    pasted = CopyPaste().mix(parts[0], drawing(parts[lacking or 1]))
    if lacking:
        assert (pasted["sem_seg"] == 255).all()
    assert ("sem_seg" in MixUp().mix(parts[0], drawing(parts[lacking]))) == ("sem_seg" in parts[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mosaic((1, 8)), r"size is \(height, width\), each at least 2, got \(1, 8\)"),
        (lambda: Mosaic((8, 8), center_range=(0.5, 0.2)), "center_range is"),
        (lambda: Mosaic((8, 8), prob=2), r"Mosaic: prob must lie in \[0, 1\], got 2"),
        (lambda: MixUp(0), "alpha must be positive, got 0"),
        (lambda: CopyPaste(max_objects=0), "max_objects must be at least 1, got 0"),
        (lambda: CopyPaste(min_visible=3), "min_visible must lie in"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mixes_print_their_settings():
    assert repr(Mosaic((8, 9), prob=0.5)) == "Mosaic(size=(8, 9), prob=0.5)"
    assert isinstance(MixUp(), Mix)


def test_rotated_boxes_stay_beside_pasted_objects_and_go_with_hidden_ones():
    own = sample((20, 20), [(2, 2, 12, 8), (5, 10, 7, 12)])
    turned = [[7.0, 5, 6, 10, 90], [6, 11, 2, 2, 45]]
    own["instances"].gt_boxes = RotatedBoxes(turned)
    other = sample((20, 20), [(4, 0, 20, 20)], level=40)
    other["instances"].gt_boxes = RotatedBoxes([[12.0, 10, 20, 16, 90]])
    instances = CopyPaste().mix(own, drawing(other))["instances"]
    assert instances.gt_boxes.tensor.tolist() == [turned[0], [12, 10, 20, 16, 90]]


@pytest.mark.parametrize("mix", [Mosaic((12, 12), center_range=(0.5, 0.5)), MixUp()], ids=repr)
def test_proposals_are_moved_and_joined_as_objects_are(mix):
    parts = []
    for k in range(4):
        part = sample((10, 10), [(2, 2, 9, 9)], level=10 * k)
        proposals = Instances((10, 10))
        proposals.proposal_boxes = Boxes([[2.0, 2, 9, 9], [0, 0, 1, 1]])
        proposals.objectness_logits = torch.tensor([1.0 + k, -1.0])
        parts.append({**part, "proposals": proposals})
    mixed = mix.mix(parts[0], drawing(*parts[1:]))
    proposals = mixed["proposals"]
    assert proposals.image_size == mixed["instances"].image_size
    objects = proposals[proposals.objectness_logits > 0]
    assert objects.proposal_boxes.tensor.tolist() == mixed["instances"].gt_boxes.tensor.tolist()


def test_objects_of_other_fields_are_not_joined():
    first, second = sample((9, 9), [(0, 0, 5, 5)]), sample((9, 9), [(0, 0, 5, 5)], None)
    with pytest.raises(ValueError, match=r"needs the same fields everywhere: .*gt_masks"):
        MixUp().mix(first, drawing(second))
