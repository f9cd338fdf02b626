"""What readers give is what mappers, loaders, samplers and pictures take."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from d2_data import (
    DatasetCatalog,
    DatasetMapper,
    Metadata,
    MetadataCatalog,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from d2_data.datasets import (
    load_cityscapes_instances,
    load_cityscapes_panoptic,
    load_coco_panoptic_json,
    load_lvis_json,
    load_sem_seg,
    load_voc_instances,
    register_coco_panoptic_separated,
    register_yolo,
)
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.image_reading import read_image
from d2_data.preparation import (
    prepare_ade20k,
    prepare_cityscapes,
    prepare_panoptic_fpn_semantics,
)
from d2_data.samplers import RepeatFactorTrainingSampler
from d2_data.transforms import RandomFlip, ResizeShortestEdge
from d2_structures.visualizer import Visualizer


def mapper(mask_format=None):
    masks = {} if mask_format is None else {"instance_mask_format": mask_format}
    return DatasetMapper(
        is_train=True,
        augmentations=[ResizeShortestEdge(64), RandomFlip()],
        image_format="RGB",
        use_instance_mask=mask_format is not None,
        **masks,
    )


def drawn(record, metadata):
    """The picture of a record, and where it differs from the photograph."""
    photograph = read_image(record["file_name"], "RGB")
    picture = Visualizer(photograph, metadata).draw_dataset_dict(record).get_image()
    assert picture.shape == photograph.shape
    return picture, (picture != photograph).any(axis=2)


# Cityscapes


@pytest.fixture
def cityscapes(tmp_path, write_cityscapes):
    root = write_cityscapes(tmp_path)
    prepare_cityscapes(root)
    return root


@pytest.mark.parametrize(("to_polygons", "mask_format"), [(True, "polygon"), (False, "bitmask")])
def test_objects_of_cityscapes_become_targets(cityscapes, to_polygons, mask_format):
    (record,) = load_cityscapes_instances(
        cityscapes / "leftImg8bit" / "train",
        cityscapes / "gtFine" / "train",
        to_polygons=to_polygons,
    )
    instances = mapper(mask_format)(record)["instances"]
    assert sorted(instances.gt_classes.tolist()) == [0, 2, 2]  # a person, two cars; no crowd
    boxes = instances.gt_masks.get_bounding_boxes().tensor
    assert torch.allclose(boxes, instances.gt_boxes.tensor, atol=1.5)


def test_labels_of_cityscapes_follow_the_photograph(cityscapes):
    metadata = Metadata(name="city", label_divisor=1000, **read_vocabulary("cityscapes_panoptic"))
    (record,) = load_cityscapes_panoptic(
        cityscapes / "leftImg8bit" / "train",
        cityscapes / "gtFine" / "train",
        cityscapes / "gtFine" / "cityscapes_panoptic_train.json",
        cityscapes / "gtFine" / "cityscapes_panoptic_train",
        metadata,
    )
    sample = mapper()(record)
    assert sample["sem_seg"].shape == sample["image"].shape[1:]
    assert set(sample["sem_seg"].unique().tolist()) == {0, 5, 10, 11, 13, 255}
    _, changed = drawn(record, metadata)
    assert changed.mean() > 0.5


# Pascal VOC


def test_real_blood_cells_train_without_the_boxes_that_are_points(shared_data, register):
    classes = ["Platelets", "RBC", "WBC"]
    records = load_voc_instances(shared_data / "bccd" / "BCCD", "val", classes)
    (record,) = [r for r in records if r["image_id"] == "BloodImage_00338"] or records[:1]
    instances = mapper()(record)["instances"]
    assert (instances.gt_boxes.tensor[:, 2:] > instances.gt_boxes.tensor[:, :2]).all()
    register("cells", records, thing_classes=classes)
    assert len(get_detection_dataset_dicts("cells")) == 87
    loader = build_detection_train_loader(
        records[:4], mapper=mapper(), total_batch_size=2, num_workers=0, seed=0
    )
    batch = next(iter(loader))
    assert all(len(sample["instances"]) > 0 for sample in batch)


def test_boxes_of_real_blood_cells_are_drawn_around_them(shared_data):
    metadata = Metadata(name="cells", thing_classes=["Platelets", "RBC", "WBC"])
    records = load_voc_instances(shared_data / "bccd" / "BCCD", "test", metadata.thing_classes)
    record = max(records, key=lambda r: len(r["annotations"]))
    _, changed = drawn(record, metadata)
    for annotation in record["annotations"]:
        x1, y1, x2, y2 = (round(value) for value in annotation["bbox"])
        outline = changed[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
        assert outline.any()


# LVIS


@pytest.fixture
def lvis(shared_data, tmp_path):
    """The real annotations with the photographs that are there."""
    (tmp_path / "val2017").mkdir()
    names = set()
    for photograph in (shared_data / "lvis" / "images").iterdir():
        shutil.copy(photograph, tmp_path / "val2017")
        names.add(photograph.name)
    records = load_lvis_json(shared_data / "lvis/lvis_val_100.json", tmp_path, "lvis_v0.5_look")
    return [record for record in records if record["file_name"].rpartition("/")[2] in names]


def test_real_objects_of_lvis_become_targets_and_pictures(lvis):
    metadata = MetadataCatalog.get("lvis_v0.5_look")
    for record in lvis:
        instances = mapper("polygon")(record)["instances"]
        assert len(instances) == len(record["annotations"])
        _, changed = drawn(record, metadata)
        assert changed.any()


def test_rare_classes_of_lvis_can_be_repeated(lvis):
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(lvis, 0.5)
    assert len(factors) == len(lvis)
    assert (factors >= 1).all()


# Panoptic and semantic labels


def test_real_objects_and_materials_train_together(shared_data, tmp_path):
    root = shared_data / "coco_panoptic"
    annotations = root / "annotations"
    prepare_panoptic_fpn_semantics(
        annotations / "panoptic_train2017.json",
        annotations / "panoptic_train2017",
        tmp_path / "stuff",
    )
    register_coco_panoptic_separated(
        "photographs",
        {},
        root / "train2017",
        annotations / "panoptic_train2017",
        annotations / "panoptic_train2017.json",
        tmp_path / "stuff",
        annotations / "instances_from_panoptic_train2017.json",
    )
    records = DatasetCatalog.get("photographs_separated")
    assert len(records) == len(DatasetCatalog.get("photographs_stuffonly")) == 25
    sample = mapper("bitmask")(records[0])
    assert len(sample["instances"]) > 0
    labels = set(sample["sem_seg"].unique().tolist())
    assert labels <= {*range(54), 255}
    assert 0 in labels  # where objects are


def test_real_panoptic_segments_are_drawn(shared_data):
    root = shared_data / "coco_panoptic"
    metadata = Metadata(name="coco", **read_vocabulary("coco_panoptic_standard"))
    first, *_ = load_coco_panoptic_json(
        root / "annotations" / "panoptic_val2017.json",
        root / "val2017",
        root / "annotations" / "panoptic_val2017",
        metadata,
    )
    _, changed = drawn(first, metadata)
    assert changed.mean() > 0.5


def test_real_scenes_of_ade20k_train_and_are_drawn(shared_data, tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "validation").symlink_to(shared_data / "ade20k" / "annotations")
    prepare_ade20k(root)
    labels = root / "annotations_detectron2" / "validation"
    metadata = Metadata(name="ade", ignore_label=255, **read_vocabulary("ade20k"))
    for record in load_sem_seg(labels, shared_data / "ade20k" / "images"):
        sample = mapper()(record)
        assert sample["sem_seg"].shape == sample["image"].shape[1:]
        assert set(sample["sem_seg"].unique().tolist()) <= {*range(150), 255}
        _, changed = drawn(record, metadata)
        assert changed.mean() > 0.3


@pytest.mark.parametrize("bits", [8, 16])
def test_labels_are_resized_and_mirrored_without_being_mixed(tmp_path, bits):
    values = np.array([[3, 200], [40, 7]], dtype=f"uint{bits}") * (1 if bits == 8 else 200)
    labels = np.kron(values, np.ones((20, 30), dtype=values.dtype))
    Image.fromarray(labels).save(tmp_path / "labels.png")
    Image.new("RGB", (60, 40)).save(tmp_path / "photo.png")
    record = {
        "file_name": str(tmp_path / "photo.png"),
        "sem_seg_file_name": str(tmp_path / "labels.png"),
    }
    sample = mapper()(record)
    assert sample["sem_seg"].shape == (64, 96)
    assert set(sample["sem_seg"].unique().tolist()) == set(values.ravel().tolist())


# YOLO


def test_a_dataset_of_yolo_trains_under_its_name(shared_data, tmp_path):
    source = shared_data / "coco_panoptic"
    for folder, target in (("images", "train2017"), ("labels", "yolo_object_detection/train2017")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train2017").symlink_to(source / target)
    text = (source / "yolo_object_detection_config.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text)
    register_yolo("yolo_photographs", tmp_path / "data.yaml", "train")
    records = get_detection_dataset_dicts("yolo_photographs")
    sample = mapper()(records[0])
    assert len(sample["instances"]) == len(records[0]["annotations"])
    _, changed = drawn(records[0], MetadataCatalog.get("yolo_photographs"))
    assert changed.any()
