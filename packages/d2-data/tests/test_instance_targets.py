"""Targets of all objects at once are those of each object alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import transforms as T
from d2_data.detection_utils import (
    annotations_to_instances,
    annotations_to_instances_rotated,
    filter_empty_instances,
    transform_instance_annotations,
)
from d2_data.instance_annotations import are_left
from d2_data.instance_targets import instance_targets
from d2_data.transforms.index_maps import OUTSIDE, index_maps
from d2_ops.host import polygons_to_rle
from d2_structures import BitMasks, Boxes, BoxMode, Instances, RotatedBoxes

H, W = 24, 36
MODEST = settings(max_examples=40, deadline=None)

CHAINS = {
    "none": [],
    "flip": [T.HFlipTransform(W)],
    "resize and flips": [
        T.ResizeTransform(H, W, 40, 50),
        T.HFlipTransform(50),
        T.VFlipTransform(40),
    ],
    "crop": [T.CropTransform(5, 4, 20, 14), T.ResizeTransform(14, 20, 9, 31)],
    "pad": [T.PadTransform(2, 3, 4, 5, seg_pad_value=255), T.HFlipTransform(W + 6)],
    "colour": [T.BlendTransform(0, 0.5, 0.5), T.HFlipTransform(W)],
    "rotation": [T.RotationTransform(H, W, 30), T.ResizeTransform(39, 43, 30, 30)],
}


def size_after(steps):
    return T.TransformList(steps).apply_image(np.zeros((H, W, 3), np.uint8)).shape[:2]


def annotations(seed, kind, count, keypoints):
    draw = np.random.default_rng(seed)
    made = []
    for number in range(count):
        corner, extent = draw.uniform([0, 0], [W - 8, H - 8]), draw.uniform(3, 8, 2)
        outline = corner + extent * draw.uniform(0, 1, (6, 2))
        annotation = {
            "bbox": [*corner.tolist(), *extent.tolist()],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": number % 3,
        }
        if kind != "boxes":
            annotation["segmentation"] = [outline.reshape(-1).tolist()] * (1 + number % 2)
        if kind == "rle" or (kind == "mixed" and number % 2):
            annotation["segmentation"] = polygons_to_rle(annotation["segmentation"], H, W)
        if keypoints:
            points = np.column_stack([draw.uniform(-5, 45, (3, 2)), draw.integers(0, 3, 3)])
            annotation["keypoints"] = points.reshape(-1).tolist()
        made.append(annotation)
    return made


def one_by_one(objects, steps, size, mask_format):
    moved = [
        transform_instance_annotations(
            dict(a), T.TransformList(steps), size, keypoint_hflip_indices=[1, 0, 2]
        )
        for a in objects
    ]
    return annotations_to_instances(moved, size, mask_format=mask_format)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(
    ("kind", "mask_format"),
    [
        ("boxes", "polygon"),
        ("polygons", "polygon"),
        ("polygons", "bitmask"),
        ("rle", "bitmask"),
        ("mixed", "bitmask"),
    ],
)
@MODEST
@given(st.integers(0, 999), st.integers(0, 4), st.booleans())
def test_targets_are_those_of_each_object_alone(name, kind, mask_format, seed, count, keypoints):
    steps, size = CHAINS[name], size_after(CHAINS[name])
    objects = annotations(seed, kind, count, keypoints)
    before = repr(objects)
    found = instance_targets(
        objects,
        T.TransformList(steps),
        size,
        mask_format=mask_format,
        keypoint_hflip_indices=[1, 0, 2],
    )
    assert repr(objects) == before
    expected = one_by_one(objects, steps, size, mask_format)
    assert found.get_fields().keys() == expected.get_fields().keys()
    torch.testing.assert_close(found.gt_boxes.tensor, expected.gt_boxes.tensor)
    assert torch.equal(found.gt_classes, expected.gt_classes)
    if found.has("gt_keypoints"):
        torch.testing.assert_close(found.gt_keypoints.tensor, expected.gt_keypoints.tensor)
    if found.has("gt_masks") and mask_format == "bitmask":
        assert torch.equal(found.gt_masks.tensor, expected.gt_masks.tensor)
    elif found.has("gt_masks"):
        pairs = zip(found.gt_masks.polygons, expected.gt_masks.polygons, strict=True)
        for ours, theirs in pairs:
            for polygon, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(polygon, other)
    wanted = filter_empty_instances(expected)
    assert torch.equal(found[are_left(found)].gt_boxes.tensor, wanted.gt_boxes.tensor)


@pytest.mark.parametrize("name", [name for name in CHAINS if name != "rotation"])
def test_index_maps_do_what_the_transforms_do_in_turn(name):
    labels = np.arange(1, H * W + 1, dtype=np.int32).reshape(H, W)
    rows, columns = index_maps(CHAINS[name], H, W)
    expected = T.TransformList(CHAINS[name]).apply_segmentation(labels)
    found = labels[rows][:, columns]
    outside = (rows == OUTSIDE)[:, None] | (columns == OUTSIDE)[None]
    np.testing.assert_array_equal(np.where(outside, 255, found), expected)


def test_index_maps_leave_other_transforms_and_other_sizes_alone():
    assert index_maps(CHAINS["rotation"], H, W) is None
    assert index_maps([T.ResizeTransform(3, 4, 5, 6)], H, W) is None

    class Own(T.HFlipTransform):
        pass

    assert index_maps([Own(W)], H, W) is None


def test_border_belongs_to_no_object():
    pad = T.PadTransform(0, 0, 10, 10, seg_pad_value=255)
    objects = annotations(0, "rle", 2, False)
    for steps in ([pad], [pad, T.RotationTransform(H + 10, W + 10, 90)]):
        size = size_after(steps)
        found = instance_targets(objects, T.TransformList(steps), size, mask_format="bitmask")
        assert int(found.gt_masks.tensor.sum()) < 2 * 64
        moved = transform_instance_annotations(dict(objects[0]), T.TransformList(steps), size)
        assert set(np.unique(moved["segmentation"])) <= {0, 1}


ROTATED = [
    {"bbox": [12.0, 10, 8, 4, 30], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 1},
    {"bbox": [20.0, 12, 6, 5, -70], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0},
]


@pytest.mark.parametrize("name", CHAINS)
def test_rotated_boxes_stay_rotated_where_they_are_wanted(name):
    steps, size = CHAINS[name], size_after(CHAINS[name])
    transforms = T.TransformList(steps)
    found = instance_targets(ROTATED, transforms, size, mask_format="polygon", rotated_boxes=True)
    assert isinstance(found.gt_boxes, RotatedBoxes)
    boxes = transforms.apply_rotated_box(np.array([a["bbox"] for a in ROTATED]))
    moved = [{**a, "bbox": box.tolist()} for a, box in zip(ROTATED, boxes, strict=True)]
    expected = annotations_to_instances_rotated(moved, size)
    torch.testing.assert_close(found.gt_boxes.tensor, expected.gt_boxes.tensor)


@pytest.mark.parametrize("name", CHAINS)
def test_rotated_boxes_become_the_upright_ones_round_them_otherwise(name):
    steps, size = CHAINS[name], size_after(CHAINS[name])
    found = instance_targets(ROTATED, T.TransformList(steps), size, mask_format="polygon")
    expected = one_by_one(ROTATED, steps, size, "polygon")
    torch.testing.assert_close(found.gt_boxes.tensor, expected.gt_boxes.tensor)


def test_upright_boxes_are_rotated_by_nothing_where_rotated_ones_are_wanted():
    upright = {"bbox": [2.0, 3, 8, 6], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 2}
    settings = {"mask_format": "polygon", "rotated_boxes": True}
    for others in ([], ROTATED):
        found = instance_targets([*others, upright], T.NoOpTransform(), (H, W), **settings)
        assert isinstance(found.gt_boxes, RotatedBoxes)
        np.testing.assert_allclose(found.gt_boxes.tensor[-1].numpy(), [6, 6, 8, 6, 0], atol=1e-5)


@pytest.mark.parametrize("rotated", [False, True])
def test_image_without_objects_asks_transforms_for_nothing(rotated):
    one_way = T.GridSampleTransform(np.zeros((1, H, W, 2)), "bilinear")
    found = instance_targets([], one_way, (H, W), mask_format="bitmask", rotated_boxes=rotated)
    assert found.gt_boxes.tensor.shape == (0, 5 if rotated else 4)
    assert found.gt_classes.shape == (0,)


def test_targets_share_no_memory_with_annotations_or_each_other():
    objects = annotations(0, "polygons", 3, True)
    objects[0]["segmentation"] = [np.array(p) for p in objects[0]["segmentation"]]
    found = instance_targets(
        objects, T.NoOpTransform(), (H, W), mask_format="polygon", keypoint_hflip_indices=[1, 0, 2]
    )
    before = repr(objects)
    flat = [polygon for polygons in found.gt_masks.polygons for polygon in polygons]
    copies = [polygon.copy() for polygon in flat[1:]]
    flat[0][:] = -1
    found.gt_keypoints.tensor[:] = -1
    found.gt_boxes.tensor[:] = -1
    assert repr(objects) == before
    for polygon, copy in zip(flat[1:], copies, strict=True):
        np.testing.assert_array_equal(polygon, copy)


def test_transform_that_cuts_polygons_in_a_way_of_its_own_is_asked_object_by_object():
    class Halves(T.NoOpTransform):
        def apply_polygons(self, polygons):
            return [part for p in polygons for part in (p[:3], p[3:])]

    objects = annotations(3, "polygons", 2, False)
    found = instance_targets(objects, Halves(), (H, W), mask_format="polygon")
    assert [len(parts) for parts in found.gt_masks.polygons] == [2, 4]


def test_masks_of_another_image_size_are_refused():
    (wrong,) = annotations(0, "rle", 1, False)
    steps = T.TransformList([T.ResizeTransform(H + 1, W, 30, 30)])
    with pytest.raises(ValueError, match="made for images of height 25"):
        instance_targets([wrong], steps, (30, 30), mask_format="bitmask")
    with pytest.raises(ValueError, match="belongs to another image size"):
        instance_targets([wrong], T.NoOpTransform(), (H + 1, W), mask_format="bitmask")
    with pytest.raises(ValueError, match="mask_format='polygon' cannot hold"):
        instance_targets([wrong], T.NoOpTransform(), (H, W), mask_format="polygon")


def test_pixels_of_masks_count_wherever_they_are():
    masks = torch.zeros(4, H, W, dtype=torch.bool)
    masks[0, 5, 5] = masks[1, 20, 30] = masks[2, 0, 0] = True
    instances = Instances((H, W))
    instances.gt_masks = BitMasks(masks)
    boxes = [[4, 4, 8, 8], [4, 4, 8, 8], [-5, -5, 0.5, 0.5], [4, 4, 8, 8]]
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
    assert are_left(instances).tolist() == [True, True, True, False]
    kept = filter_empty_instances(instances)
    assert len(kept) == 3
    kept.gt_boxes.tensor.zero_()
    assert instances.gt_boxes.tensor.any()
