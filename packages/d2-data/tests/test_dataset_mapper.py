import copy
import os
import pathlib
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from d2_config import get_cfg
from d2_data import DatasetMapper, MapDataset
from d2_data import transforms as T
from d2_data.detection_utils import SizeMismatchError
from d2_ops.host import polygons_to_rle
from d2_structures import Boxes, BoxMode, RotatedBoxes

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)
GOLDEN = SHARED / "golden" / "data_transforms.pt"
H, W = 24, 36


def mapper(is_train=True, augmentations=(), **settings):
    return DatasetMapper(is_train, augmentations=augmentations, image_format="RGB", **settings)


@pytest.fixture
def record(tmp_path):
    """One image with a rectangle, a crowd, and a semantic label map."""
    pixels = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    labels = np.zeros((H, W), np.uint8)
    labels[:, : W // 2] = 3
    Image.fromarray(labels).save(tmp_path / "labels.png")
    rectangle = {
        "bbox": [2.0, 3.0, 10.0, 8.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 1,
        "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]],
        "keypoints": [4.0, 5.0, 2, 9.0, 5.0, 1],
        "iscrowd": 0,
    }
    return {
        "file_name": str(tmp_path / "image.png"),
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "height": H,
        "width": W,
        "image_id": 5,
        "annotations": [rectangle, {**rectangle, "iscrowd": 1}],
        "pixels": pixels,
    }


def test_training_gives_image_instances_and_labels(record):
    mapped = mapper(augmentations=[T.HFlipTransform(W)], use_instance_mask=True)(record)
    expected = record["pixels"][:, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(mapped["image"].numpy(), expected)
    assert mapped["image"].is_contiguous()
    instances = mapped["instances"]
    assert len(instances) == 1
    assert instances.gt_boxes.tensor.tolist() == [[24, 3, 34, 11]]
    assert instances.gt_classes.tolist() == [1]
    assert instances.has("gt_masks")
    assert not instances.has("gt_keypoints")
    assert mapped["sem_seg"].dtype == torch.int64
    assert mapped["sem_seg"][0, 0] == 0
    assert mapped["sem_seg"][0, -1] == 3
    assert mapped["image_id"] == 5
    assert "annotations" not in mapped


def test_inference_gives_the_image_only(record):
    mapped = mapper(False, [T.Resize((12, 18))])(record)
    assert mapped["image"].shape == (3, 12, 18)
    assert (mapped["height"], mapped["width"]) == (H, W)
    assert not {"annotations", "instances", "sem_seg", "sem_seg_file_name"} & set(mapped)


def test_record_stays_as_it_is(record):
    before = copy.deepcopy({k: v for k, v in record.items() if k != "pixels"})
    mapper(augmentations=[T.HFlipTransform(W), T.Resize((48, 72))], use_instance_mask=True)(record)
    del record["pixels"]
    assert record == before


def test_masks_are_left_out_unless_wanted(record):
    assert not mapper()(record)["instances"].has("gt_masks")


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_recomputed_boxes_are_those_of_the_cropped_masks(record, mask_format):
    # The box reaches further than the rectangle that is drawn.
    record["annotations"][0]["bbox"] = [0.0, 0.0, 30.0, 20.0]
    settings = {"use_instance_mask": True, "instance_mask_format": mask_format}
    crop = [T.CropTransform(0, 0, 8, H)]
    kept = mapper(augmentations=crop, **settings)(record)["instances"]
    assert kept.gt_boxes.tensor.tolist() == [[0, 0, 8, 20]]
    tight = mapper(augmentations=crop, recompute_boxes=True, **settings)(record)["instances"]
    assert tight.gt_boxes.tensor.tolist() == [[2, 3, 8, 11]]


class _OneBoxAway(T.NoOpTransform):
    """Drops objects as transforms do that are told to: their boxes lose their extent."""

    def apply_box(self, box):
        return np.where(box[:, :1] < 5, 0, box)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize("recompute_boxes", [False, True])
def test_objects_that_an_augmentation_drops_are_left_out(record, mask_format, recompute_boxes):
    first = record["annotations"][0]
    second = {**first, "bbox": [20.0, 3, 10, 8], "category_id": 2}
    record["annotations"] = [second, first, {**second, "category_id": 3}]
    dropping = mapper(
        augmentations=[_OneBoxAway(), T.PadTransform(2, 2, 0, 0)],
        use_instance_mask=True,
        instance_mask_format=mask_format,
        recompute_boxes=recompute_boxes,
    )
    assert dropping(record)["instances"].gt_classes.tolist() == [2, 3]


def test_policies_that_look_at_boxes_are_given_them(record):
    class Centred(T.Augmentation):
        def get_transform(self, image, boxes):
            ((x0, y0, x1, y1),) = boxes
            assert boxes.dtype == np.float32
            return T.CropTransform(int(x0), int(y0), int(x1 - x0), int(y1 - y0))

    for policy in (Centred(), T.RandomApply(Centred(), 1.0), T.AugmentationList([Centred()])):
        mapped = mapper(augmentations=[policy])(record)
        assert mapped["image"].shape == (3, 8, 10)
        assert mapped["instances"].gt_boxes.tensor.tolist() == [[0, 0, 10, 8]]


def test_instances_that_are_cropped_away_disappear(record):
    away = mapper(augmentations=[T.CropTransform(20, 12, 10, 10)], use_instance_mask=True)
    assert len(away(record)["instances"]) == 0


def test_keypoints_exchange_sides_when_mirrored(record):
    settings = {"use_keypoint": True, "keypoint_hflip_indices": [1, 0]}
    mapped = mapper(augmentations=[T.HFlipTransform(W)], **settings)(record)
    keypoints = mapped["instances"].gt_keypoints.tensor[0]
    assert keypoints.tolist() == [[27, 5, 1], [32, 5, 2]]


def test_proposals_are_loaded_when_wanted(record):
    record["proposal_boxes"] = np.array([[0.0, 0, 5, 5], [1, 1, 6, 6]])
    record["proposal_objectness_logits"] = np.array([2.0, 1.0])
    mapped = mapper(False, [T.HFlipTransform(W)], precomputed_proposal_topk=1)(record)
    assert mapped["proposals"].proposal_boxes.tensor.tolist() == [[31, 0, 36, 5]]


def test_image_of_another_size_is_refused(record):
    record["width"] += 1
    with pytest.raises(SizeMismatchError, match=r"image\.png' is 36x24 .* says 37x24"):
        mapper()(record)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize("nothing", ["missing", None, [], [[1, 2, 3, 4]]])
def test_objects_without_a_mask_are_left_out_of_masks_and_named(
    record, caplog, mask_format, nothing
):
    lacking = {**record["annotations"][0], "segmentation": nothing, "category_id": 2}
    if nothing == "missing":
        del lacking["segmentation"]
    record["annotations"].insert(0, lacking)
    with_masks = mapper(use_instance_mask=True, instance_mask_format=mask_format)
    for _ in range(2):
        instances = with_masks(record)["instances"]
        assert instances.gt_classes.tolist() == [1]
        assert len(instances.gt_masks) == 1
    (message,) = [r.getMessage() for r in caplog.records]
    assert "image.png' (image_id 5): 1 of 2 annotations have no segmentation" in message
    assert "MODEL.MASK_ON = False" in message
    assert mapper()(record)["instances"].gt_classes.tolist() == [2, 1]


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_picture_without_any_mask_has_an_empty_field_of_masks(record, mask_format):
    settings = {"use_instance_mask": True, "instance_mask_format": mask_format}
    for annotations in ([], [{**record["annotations"][0], "segmentation": []}]):
        record["annotations"] = annotations
        instances = mapper(recompute_boxes=True, **settings)(record)["instances"]
        assert len(instances) == len(instances.gt_masks) == 0


def test_objects_without_keypoints_have_unlabelled_ones(record):
    record["annotations"].append({**record["annotations"][0], "keypoints": None})
    keypoints = mapper(use_keypoint=True)(record)["instances"].gt_keypoints.tensor
    assert keypoints.shape == (2, 2, 3)
    assert keypoints[1].tolist() == [[0, 0, 0]] * 2
    for annotation in record["annotations"]:
        annotation["keypoints"] = None
    indexed = mapper(use_keypoint=True, keypoint_hflip_indices=[1, 0])(record)
    assert indexed["instances"].gt_keypoints.tensor.tolist() == [[[0, 0, 0]] * 2] * 2


def test_object_with_another_number_of_keypoints_is_named(record):
    record["annotations"].append({**record["annotations"][0], "keypoints": [1.0, 1, 2] * 5})
    pattern = r"image\.png' \(image_id 5\): annotation 2 of 3 has 5 keypoints, .* have 2"
    with pytest.raises(ValueError, match=pattern):
        mapper(use_keypoint=True, keypoint_hflip_indices=[1, 0])(record)


def test_dataset_without_any_mask_trains_on_boxes(record, caplog):
    full = record["annotations"][0]
    boxes_only = {key: full[key] for key in ("bbox", "bbox_mode", "category_id")}
    lacking = {**record, "annotations": [boxes_only, {**full, "iscrowd": 1}]}
    asked = mapper(use_instance_mask=True, use_keypoint=True, recompute_boxes=True)
    instances = asked.suited_to([lacking, lacking])(lacking)["instances"]
    assert len(instances) == 1
    assert not instances.has("gt_masks")
    assert not instances.has("gt_keypoints")
    first, second = [r.getMessage() for r in caplog.records]
    assert "No object of the training data has a 'segmentation': boxes are trained" in first
    assert "MODEL.MASK_ON = False" in first
    assert "'keypoints'" in second
    assert asked.use_instance_mask
    assert asked.use_keypoint


def test_dataset_with_some_masks_keeps_the_mapper(record):
    asked = mapper(use_instance_mask=True)
    assert asked.suited_to([{**record, "annotations": []}, record]) is asked
    assert asked.suited_to([{**record, "annotations": []}]) is asked
    inference = mapper(is_train=False, use_instance_mask=True)
    assert inference.suited_to([{**record, "annotations": [{"bbox": [1]}]}]) is inference


def test_values_of_numpy_and_torch_are_read(record):
    (plain, crowd), size = record["annotations"], (record["height"], record["width"])
    expected = mapper(use_instance_mask=True, use_keypoint=True)(record)["instances"]
    record["annotations"] = [
        {
            "bbox": torch.tensor(plain["bbox"]),
            "bbox_mode": np.int64(1),
            "category_id": np.int32(1),
            "segmentation": [np.array(plain["segmentation"][0])],
            "keypoints": np.reshape(plain["keypoints"], (2, 3)),
            "iscrowd": np.int8(0),
        },
        {**crowd, "iscrowd": True},
    ]
    record["height"], record["width"] = np.int64(size[0]), torch.tensor(size[1])
    record["image_id"] = np.int64(5)
    mapped = mapper(use_instance_mask=True, use_keypoint=True)(record)
    assert type(mapped["height"]) is type(mapped["width"]) is type(mapped["image_id"]) is int
    instances = mapped["instances"]
    assert instances.gt_boxes.tensor.tolist() == expected.gt_boxes.tensor.tolist()
    assert instances.gt_keypoints.tensor.tolist() == expected.gt_keypoints.tensor.tolist()
    np.testing.assert_array_equal(instances.gt_masks.polygons, expected.gt_masks.polygons)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, "annotation 0 of 2 has 'bbox' .*NaN"),
        ({"bbox": ["1", "2", "3", "4"]}, "annotation 0 of 2 has 'bbox' .*text"),
        ({"bbox_mode": None}, "annotation 0 of 2 lacks 'bbox_mode'"),
        ({"segmentation": {"size": [3, 3], "counts": "9"}}, "annotation 0 of 2 has a mask of 3x3"),
        ({"segmentation": {"size": [H, W], "counts": "zz"}}, "annotation 0 of 2: .*counts"),
        ({"bbox_mode": BoxMode.XYXY_REL}, "annotation 0 of 2: .*image_size"),
    ],
)
def test_errors_name_picture_and_annotation(record, change, message):
    record["annotations"][0].update(change)
    with pytest.raises(ValueError, match=rf"image\.png' \(image_id 5\): {message}"):
        mapper(use_instance_mask=True, instance_mask_format="bitmask")(record)


def test_masks_that_the_format_cannot_hold_are_named(record):
    run_lengths = polygons_to_rle(record["annotations"][0]["segmentation"], H, W)
    second = {**record["annotations"][0], "segmentation": run_lengths}
    record["annotations"].append(second)
    pattern = r"image\.png' \(image_id 5\): annotation 2 of 3: mask_format='polygon' cannot hold"
    with pytest.raises(ValueError, match=pattern):
        mapper(use_instance_mask=True)(record)


def test_mirrored_keypoints_without_indices_are_named(record):
    pattern = r"image\.png' \(image_id 5\): annotation 0 of 2: keypoints of a mirrored image need"
    with pytest.raises(ValueError, match=pattern):
        mapper(augmentations=[T.HFlipTransform(W)], use_keypoint=True)(record)


def test_errors_of_augmentations_name_the_picture(record):
    class Broken(T.Augmentation):
        def get_transform(self, image):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match=r"image\.png' \(image_id 5\): out of luck"):
        mapper(augmentations=[Broken()])(record)


def test_annotations_are_not_looked_at_in_inference(record):
    record["annotations"] = [{"bbox": "nonsense"}]
    assert "image" in mapper(is_train=False)(record)


def test_what_is_skipped_comes_back_as_none_and_is_listed(record, caplog):
    skipping = mapper(on_error="skip")
    broken = {**record, "file_name": "gone.png"}
    assert skipping(broken) is None
    assert skipping(record) is not None
    (entry,) = skipping.skipped
    assert entry.record == "image 'gone.png' (image_id 5)"
    assert "FileNotFoundError" in entry.error
    assert "Skipped image 'gone.png'" in caplog.text
    dataset = MapDataset([broken, record], skipping)
    assert dataset[0]["image_id"] == 5
    assert len(dataset.skipped) >= 2


def test_settings_that_contradict_are_refused():
    with pytest.raises(ValueError, match="recompute_boxes=True needs use_instance_mask=True"):
        mapper(recompute_boxes=True)
    with pytest.raises(ValueError, match="DatasetMapper: on_error is 'raise' or 'skip'"):
        mapper(on_error="ignore")
    with pytest.raises(ValueError, match="'polygon' or 'bitmask', got 'rle'"):
        mapper(instance_mask_format="rle")


def test_log_names_the_library_that_decodes(caplog, monkeypatch):
    caplog.set_level("INFO")
    for library, name in ((None, "Pillow"), (ModuleType("simplejpeg"), "simplejpeg")):
        monkeypatch.setattr("d2_data.dataset_mapper.simplejpeg", lambda chosen=library: chosen)
        mapper()
        assert caplog.messages[-1] == f"JPEG is decoded by {name}"


def test_reduced_decoding_changes_pixels_only(record, tmp_path):
    pixels = Image.fromarray(record["pixels"]).resize((8 * W, 8 * H), Image.Resampling.BICUBIC)
    pixels.save(tmp_path / "image.jpg", quality=95)
    del record["sem_seg_file_name"]
    record |= {"file_name": str(tmp_path / "image.jpg"), "height": 8 * H, "width": 8 * W}
    policies = [T.Resize((H, W)), T.HFlipTransform(W)]
    full = mapper(augmentations=policies, use_instance_mask=True)(record)
    reduced = mapper(augmentations=policies, use_instance_mask=True, reduced_decoding=True)(record)
    difference = (full["image"].int() - reduced["image"].int()).abs()
    assert 0 < difference.max() < 60
    assert difference.float().mean() < 20
    boxes = [each["instances"].gt_boxes.tensor for each in (full, reduced)]
    assert torch.equal(*boxes)


def test_a_config_with_rotated_anchors_asks_for_rotated_boxes(record):
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    cfg.INPUT.CROP.ENABLED = cfg.MODEL.MASK_ON = True
    assert DatasetMapper(cfg, is_train=True).rotated_boxes
    rotated = {"bbox": [12.0, 10, 8, 4, 30], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0}
    for annotations in ([rotated], record["annotations"], []):
        plain = {**record, "annotations": annotations}
        assert isinstance(mapper()(plain)["instances"].gt_boxes, Boxes)
        boxes = mapper(rotated_boxes=True)(plain)["instances"].gt_boxes
        assert isinstance(boxes, RotatedBoxes)
    with pytest.raises(ValueError, match="recompute_boxes=True makes upright boxes"):
        mapper(rotated_boxes=True, recompute_boxes=True, use_instance_mask=True)


@pytest.mark.skipif(
    not GOLDEN.is_file(), reason="needs the folder of reference values ($D2_SHARED)"
)
@pytest.mark.parametrize("case", range(6))
def test_mapped_dicts_equal_the_original(case):
    golden = torch.load(GOLDEN, weights_only=True)
    expected, settings = golden["mapper"][case], golden["mapper_cfg"]
    record = copy.deepcopy(expected["input"])
    record["file_name"] = str(SHARED / "data" / record["file_name"])
    resize = T.ResizeShortestEdge(settings["MIN_SIZE_TRAIN"], settings["MAX_SIZE_TRAIN"], "choice")
    map_record = DatasetMapper(
        True,
        augmentations=[resize, T.RandomFlip()],
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format=expected["fmt"],
    )
    np.random.seed(settings["seed"])
    mapped = map_record(record)
    instances = mapped["instances"]
    assert instances.image_size == expected["size"]
    assert torch.equal(mapped["image"], expected["image"])
    torch.testing.assert_close(instances.gt_boxes.tensor, expected["boxes"])
    assert torch.equal(instances.gt_classes, expected["classes"])
    if expected["fmt"] == "bitmask":
        assert torch.equal(instances.gt_masks.tensor, expected["masks"])
        return
    for ours, theirs in zip(instances.gt_masks.polygons, expected["masks"], strict=True):
        for polygon, reference in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(polygon, reference.numpy())
