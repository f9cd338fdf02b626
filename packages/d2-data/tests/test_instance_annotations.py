import numpy as np
import pytest
import torch

from d2_data import transforms as T
from d2_data.detection_utils import (
    annotations_to_instances,
    annotations_to_instances_rotated,
    filter_empty_instances,
    transform_instance_annotations,
    transform_keypoint_annotations,
)
from d2_structures import BitMasks, BoxMode, Keypoints, PolygonMasks, RotatedBoxes

H, W = 20, 30
TRIANGLE = [2.0, 3.0, 12.0, 3.0, 12.0, 13.0]


def annotation(**changes):
    return {
        "bbox": [2.0, 3.0, 10.0, 10.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 4,
        "segmentation": [TRIANGLE],
        **changes,
    }


def rle(mask):
    from d2_ops.host import rle_encode

    return rle_encode(np.asarray(mask, dtype=bool))


def test_box_and_polygon_move_with_the_image():
    moved = transform_instance_annotations(annotation(), T.HFlipTransform(W), (H, W))
    np.testing.assert_allclose(moved["bbox"], [18, 3, 28, 13])
    assert moved["bbox_mode"] == BoxMode.XYXY_ABS
    (polygon,) = moved["segmentation"]
    np.testing.assert_allclose(polygon, [28, 3, 18, 3, 18, 13])
    assert moved["category_id"] == 4


def test_sequence_of_transforms_is_taken_as_a_list():
    steps = [T.HFlipTransform(W), T.ResizeTransform(H, W, 2 * H, 2 * W)]
    moved = transform_instance_annotations(annotation(), steps, (2 * H, 2 * W))
    np.testing.assert_allclose(moved["bbox"], [36, 6, 56, 26])


def test_box_is_clipped_to_the_image():
    box = annotation(bbox=[-5.0, -5.0, 100.0, 100.0], bbox_mode=BoxMode.XYXY_ABS)
    moved = transform_instance_annotations(box, T.NoOpTransform(), (H, W))
    np.testing.assert_array_equal(moved["bbox"], [0, 0, W, H])


def test_run_lengths_become_a_moved_mask():
    mask = np.zeros((H, W), bool)
    mask[5:9, 2:6] = True
    record = annotation(segmentation=rle(mask))
    moved = transform_instance_annotations(record, T.HFlipTransform(W), (H, W))
    assert moved["segmentation"].dtype == np.uint8
    np.testing.assert_array_equal(moved["segmentation"], mask[:, ::-1])


def test_mask_of_another_size_is_refused():
    record = annotation(segmentation=rle(np.zeros((5, 6))))
    with pytest.raises(ValueError, match=r"size \(5, 6\) becomes \(5, 6\) while its image becomes"):
        transform_instance_annotations(record, T.NoOpTransform(), (H, W))


def test_segmentation_of_another_kind_is_refused_with_the_remedy():
    record = annotation(segmentation=np.zeros((H, W)))
    with pytest.raises(ValueError, match=r"got ndarray; encode a mask array by .*rle_encode"):
        transform_instance_annotations(record, T.NoOpTransform(), (H, W))


def test_raw_annotation_is_brought_into_form_first():
    raw = {
        "bbox": None,
        "segmentation": [[[2, 3], [12, 3], [12, 13]]],
        "keypoints": None,
        "iscrowd": None,
        "custom": "kept",
    }
    moved = transform_instance_annotations(raw, T.NoOpTransform(), (H, W))
    assert moved is raw
    assert sorted(moved) == ["bbox", "bbox_mode", "custom", "segmentation"]
    np.testing.assert_allclose(moved["bbox"], [2, 3, 12, 13])
    with pytest.raises(ValueError, match="has 'bbox' "):
        transform_instance_annotations({**raw, "bbox": ["1"] * 4}, T.NoOpTransform(), (H, W))


@pytest.mark.parametrize("field", ["segmentation", "keypoints"])
@pytest.mark.parametrize("nothing", ["missing", None])
def test_field_that_only_some_annotations_have_is_refused(field, nothing):
    complete = annotation(keypoints=[1.0, 2, 2])
    lacking = {**complete, field: nothing}
    if nothing == "missing":
        del lacking[field]
    with pytest.raises(ValueError, match=f"annotation 1 of 2 has no '{field}', and others"):
        annotations_to_instances([complete, lacking], (H, W))
    assert not annotations_to_instances([lacking], (H, W)).has(
        {"segmentation": "gt_masks", "keypoints": "gt_keypoints"}[field]
    )


def test_other_numbers_of_keypoints_in_one_image_are_refused():
    annos = [annotation(keypoints=np.zeros((n, 3))) for n in (2, 3)]
    with pytest.raises(ValueError, match=r"have \[2, 3\] keypoints; a model learns one set"):
        annotations_to_instances(annos, (H, W))


KEYPOINTS = [1.0, 2.0, 2, 10.0, 2.0, 1, 29.0, 19.0, 2, 5.0, 5.0, 0]


def test_keypoints_move_and_unlabelled_ones_are_zero():
    moved = transform_keypoint_annotations(KEYPOINTS, T.VFlipTransform(H), (H, W))
    np.testing.assert_allclose(moved, [[1, 18, 2], [10, 18, 1], [29, 1, 2], [0, 0, 0]])


def test_mirrored_keypoints_exchange_left_and_right():
    moved = transform_keypoint_annotations(
        KEYPOINTS, T.HFlipTransform(W), (H, W), keypoint_hflip_indices=[1, 0, 2, 3]
    )
    np.testing.assert_allclose(moved, [[20, 2, 1], [29, 2, 2], [1, 19, 2], [0, 0, 0]])


def test_mirroring_twice_exchanges_nothing():
    twice = T.TransformList([T.HFlipTransform(W)] * 2)
    moved = transform_keypoint_annotations(KEYPOINTS, twice, (H, W))
    np.testing.assert_allclose(moved[:3], np.reshape(KEYPOINTS, (4, 3))[:3])


def test_keypoints_that_leave_the_image_become_invisible():
    moved = transform_keypoint_annotations(KEYPOINTS, T.CropTransform(5, 0, 10, 20), (20, 10))
    np.testing.assert_allclose(moved, [[0, 0, 0], [5, 2, 1], [0, 0, 0], [0, 0, 0]])


def test_mirroring_keypoints_needs_their_partners():
    with pytest.raises(ValueError, match="create_keypoint_hflip_indices"):
        transform_keypoint_annotations(KEYPOINTS, T.HFlipTransform(W), (H, W))
    with pytest.raises(ValueError, match="has 4 keypoints, the metadata's flip indices 2"):
        transform_keypoint_annotations(KEYPOINTS, T.HFlipTransform(W), (H, W), [1, 0])


def test_instances_hold_boxes_classes_and_polygons():
    instances = annotations_to_instances([annotation(), annotation(category_id=1)], (H, W))
    assert instances.image_size == (H, W)
    assert instances.gt_boxes.tensor.tolist() == [[2, 3, 12, 13]] * 2
    assert instances.gt_classes.tolist() == [4, 1]
    assert instances.gt_classes.dtype == torch.int64
    assert isinstance(instances.gt_masks, PolygonMasks)
    assert len(instances) == 2


def test_bitmasks_come_from_polygons_run_lengths_and_arrays():
    mask = np.zeros((H, W), bool)
    mask[3:13, 2:12] = True
    annos = [
        annotation(segmentation=[[2, 3, 12, 3, 12, 13, 2, 13]]),
        annotation(segmentation=rle(mask)),
        annotation(segmentation=mask.astype(np.uint8)),
    ]
    masks = annotations_to_instances(annos, (H, W), mask_format="bitmask").gt_masks
    assert isinstance(masks, BitMasks)
    for one in masks.tensor:
        np.testing.assert_array_equal(one.numpy(), mask)


def test_image_without_annotations_gives_empty_instances():
    instances = annotations_to_instances([], (H, W))
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert not instances.has("gt_masks")


def test_polygon_format_refuses_masks_with_the_remedy():
    with pytest.raises(ValueError, match="use mask_format='bitmask'"):
        annotations_to_instances([annotation(segmentation=np.zeros((H, W)))], (H, W))


def test_unknown_format_and_wrong_mask_size_are_refused():
    with pytest.raises(ValueError, match="'polygon' or 'bitmask', got 'rle'"):
        annotations_to_instances([annotation()], (H, W), mask_format="rle")
    with pytest.raises(ValueError, match=r"shape \(2, 3\), its image has \(20, 30\)"):
        annotations_to_instances([annotation(segmentation=np.zeros((2, 3)))], (H, W), "bitmask")


def test_keypoints_are_batched():
    points = np.reshape(KEYPOINTS, (4, 3))
    instances = annotations_to_instances([annotation(keypoints=points)] * 2, (H, W))
    assert isinstance(instances.gt_keypoints, Keypoints)
    assert instances.gt_keypoints.tensor.shape == (2, 4, 3)


def test_empty_boxes_and_masks_are_filtered():
    annos = [
        annotation(),
        annotation(bbox=[1.0, 1.0, 0.0, 5.0]),
        annotation(segmentation=np.zeros((H, W), np.uint8)),
    ]
    instances = annotations_to_instances(annos, (H, W), mask_format="bitmask")
    kept, mask = filter_empty_instances(instances, return_mask=True)
    assert mask.tolist() == [True, False, False]
    assert len(kept) == 1
    assert len(filter_empty_instances(instances, by_mask=False)) == 2
    assert len(filter_empty_instances(instances, by_box=False)) == 2
    assert len(filter_empty_instances(instances, by_mask=False, box_threshold=20)) == 0


def test_filtering_by_nothing_is_refused():
    instances = annotations_to_instances([annotation()], (H, W))
    with pytest.raises(ValueError, match="by_box=True or by_mask=True"):
        filter_empty_instances(instances, by_box=False, by_mask=False)


def rotated(*box, **changes):
    return {"bbox": list(box), "category_id": 2, **changes}


def test_rotated_instances_hold_rotated_boxes_and_classes():
    annos = [
        rotated(10, 8, 6, 4, 30, bbox_mode=BoxMode.XYWHA_ABS),
        rotated(9, 9, 4, 4, -200, category_id=7),
    ]
    instances = annotations_to_instances_rotated(annos, (H, W))
    assert instances.image_size == (H, W)
    assert type(instances.gt_boxes) is RotatedBoxes
    assert instances.gt_boxes.tensor.tolist() == [[10, 8, 6, 4, 30], [9, 9, 4, 4, 160]]
    assert instances.gt_classes.tolist() == [2, 7]
    assert instances.gt_classes.dtype == torch.int64


def test_upright_rotated_boxes_are_clipped_and_turned_ones_are_not():
    annos = [rotated(0, 0, 20, 10, 0.5), rotated(0, 0, 20, 10, 5)]
    boxes = annotations_to_instances_rotated(annos, (H, W)).gt_boxes
    assert boxes.tensor.tolist() == [[5, 2.5, 10, 5, 0.5], [0, 0, 20, 10, 5]]


def test_boxes_of_other_modes_become_rotated_ones_of_angle_zero():
    instances = annotations_to_instances_rotated([annotation()], (H, W))
    assert instances.gt_boxes.tensor.tolist() == [[7, 8, 10, 10, 0]]


def test_image_without_rotated_annotations_gives_empty_instances():
    instances = annotations_to_instances_rotated([], (H, W))
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 5)
    assert filter_empty_instances(instances).gt_classes.shape == (0,)


def test_rotated_boxes_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity"):
        annotations_to_instances_rotated([rotated(1, 2, 3, 4, float("nan"))], (H, W))


def test_empty_rotated_instances_are_filtered():
    instances = annotations_to_instances_rotated(
        [rotated(5, 5, 0, 4, 45), rotated(5, 5, 3, 4, 45)], (H, W)
    )
    assert len(filter_empty_instances(instances)) == 1
