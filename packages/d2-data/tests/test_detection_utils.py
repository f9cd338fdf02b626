from types import SimpleNamespace

import numpy as np
import pytest

from d2_data import MetadataCatalog
from d2_data import detection_utils as utils
from d2_data import transforms as T
from d2_structures import BoxMode


@pytest.fixture
def metadata(request):
    made = []

    def make(suffix="", **attributes):
        made.append(f"test_{request.node.name}{suffix}")
        return MetadataCatalog.get(made[-1]).set(**attributes).name

    yield make
    for name in made:
        MetadataCatalog.data.pop(name, None)


def test_size_is_filled_in_where_missing():
    record = {}
    utils.check_image_size(record, np.zeros((4, 7, 3)))
    assert record == {"width": 7, "height": 4}
    utils.check_image_size(record, np.zeros((4, 7, 3)))


def test_size_that_disagrees_names_file_and_both_sizes():
    record = {"file_name": "a.jpg", "width": 8, "height": 4}
    with pytest.raises(utils.SizeMismatchError, match=r"'a\.jpg' is 7x4 .*says 8x4; correct"):
        utils.check_image_size(record, np.zeros((4, 7, 3)))
    assert issubclass(utils.SizeMismatchError, ValueError)


def test_exchanged_sides_hint_at_the_orientation():
    record = {"file_name": "a.jpg", "width": 4, "height": 7}
    with pytest.raises(utils.SizeMismatchError, match="EXIF orientation"):
        utils.check_image_size(record, np.zeros((4, 7, 3)))


def test_proposals_are_moved_clipped_filtered_and_cut():
    record = {
        "proposal_boxes": np.array([[0, 0, 4, 4], [5, 5, 1, 1], [90, 0, 5, 5], [2, 2, 3, 3.0]]),
        "proposal_bbox_mode": BoxMode.XYWH_ABS,
        "proposal_objectness_logits": np.array([4.0, 3.0, 2.0, 1.0]),
        "image_id": 1,
    }
    resize = T.ResizeTransform(10, 10, 20, 20)
    utils.transform_proposals(record, (20, 20), resize, proposal_topk=2, min_box_size=3)
    proposals = record.pop("proposals")
    assert record == {"image_id": 1}
    assert proposals.proposal_boxes.tensor.tolist() == [[0, 0, 8, 8], [4, 4, 10, 10]]
    assert proposals.objectness_logits.tolist() == [4, 1]


def test_record_without_proposals_stays():
    record = {"image_id": 1}
    utils.transform_proposals(record, (5, 5), T.NoOpTransform(), proposal_topk=2)
    assert record == {"image_id": 1}


def test_window_contains_the_centre_of_the_instance():
    instance = {"bbox": [30.0, 2.0, 4.0, 4.0], "bbox_mode": BoxMode.XYWH_ABS}
    np.random.seed(0)
    tops = set()
    for _ in range(60):
        crop = utils.gen_crop_transform_with_instance((10, 12), (20, 40), instance)
        assert (crop.h, crop.w) == (10, 12)
        assert crop.x0 <= 32 <= crop.x0 + 12 <= 40
        assert 0 <= crop.y0 <= 4
        tops.add(crop.y0)
    assert len(tops) > 2


def test_window_must_fit_and_centre_lie_inside():
    instance = {"bbox": [30.0, 2.0, 4.0, 4.0], "bbox_mode": BoxMode.XYWH_ABS}
    with pytest.raises(ValueError, match="does not fit"):
        utils.gen_crop_transform_with_instance((30, 12), (20, 40), instance)
    with pytest.raises(ValueError, match="outside the image"):
        utils.gen_crop_transform_with_instance((5, 5), (20, 25), instance)


def test_flip_indices_exchange_partners_and_keep_the_rest(metadata):
    name = metadata(
        keypoint_names=["nose", "left_eye", "right_eye", "left_ear", "right_ear"],
        keypoint_flip_map=[("left_eye", "right_eye"), ("left_ear", "right_ear")],
    )
    assert utils.create_keypoint_hflip_indices(name) == [0, 2, 1, 4, 3]
    assert utils.create_keypoint_hflip_indices([name, name]) == [0, 2, 1, 4, 3]


def test_flip_map_of_unknown_keypoints_is_refused(metadata):
    name = metadata(keypoint_names=["nose"], keypoint_flip_map=[("nose", "tail")])
    with pytest.raises(ValueError, match=r"names 'tail', which is not among .*\['nose'\]"):
        utils.create_keypoint_hflip_indices(name)


def test_datasets_used_together_must_agree(metadata):
    first, second = metadata("a", thing_classes=["x"]), metadata("b", thing_classes=["y"])
    utils.check_metadata_consistency("thing_classes", [first, first])
    with pytest.raises(ValueError, match=r"agree in 'thing_classes': .*\['x'\].*\['y'\]"):
        utils.check_metadata_consistency("thing_classes", [first, second])
    with pytest.raises(ValueError, match="at least one dataset"):
        utils.check_metadata_consistency("thing_classes", [])


def test_classes_are_drawn_by_a_power_of_their_frequency(metadata):
    counts = [{"id": 2, "image_count": 9}, {"id": 1, "image_count": 4}]
    known = metadata(class_image_count=counts)
    assert utils.get_fed_loss_cls_weights(known, 0.5).tolist() == [2.0, 3.0]
    assert utils.get_fed_loss_cls_weights([known, known]).tolist() == [4.0, 9.0]
    with pytest.raises(ValueError, match="_unknown' has no 'class_image_count' in its metadata"):
        utils.get_fed_loss_cls_weights([known, metadata("_unknown")])


def config(flip="horizontal"):
    settings = SimpleNamespace(
        MIN_SIZE_TRAIN=(640, 800),
        MAX_SIZE_TRAIN=1333,
        MIN_SIZE_TRAIN_SAMPLING="choice",
        MIN_SIZE_TEST=800,
        MAX_SIZE_TEST=1300,
        RANDOM_FLIP=flip,
    )
    return SimpleNamespace(INPUT=settings)


def test_default_augmentations_resize_and_flip_in_training():
    resize, flip = utils.build_augmentation(config(), is_train=True)
    assert repr(resize) == (
        "ResizeShortestEdge(short_edge_length=(640, 800), max_size=1333, sample_style='choice')"
    )
    assert flip.horizontal
    assert not flip.vertical
    assert utils.build_augmentation(config("vertical"), True)[1].vertical
    assert len(utils.build_augmentation(config("none"), True)) == 1


def test_default_augmentations_only_resize_in_inference():
    (resize,) = utils.build_augmentation(config(), is_train=False)
    chosen = resize.get_transform(np.zeros((400, 500, 3)))
    assert (chosen.new_h, chosen.new_w) == (800, 1000)
