"""The tutorial on datasets: its code runs, and samples of every reader follow its format."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from d2_data import DatasetCatalog, Metadata, MetadataCatalog, get_detection_dataset_dicts
from d2_data.datasets import (
    load_cityscapes_instances,
    load_cityscapes_panoptic,
    load_cityscapes_semantic,
    load_coco_json,
    load_coco_panoptic_json,
    load_lvis_json,
    load_sem_seg,
    load_voc_instances,
    load_yolo,
    register_coco_instances,
)
from d2_data.datasets.shapes import generate_shapes, register_shapes
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.preparation import prepare_cityscapes
from d2_structures import BoxMode

RECORD_KEYS = {
    "file_name",
    "height",
    "width",
    "image_id",
    "annotations",
    "sem_seg_file_name",
    "pan_seg_file_name",
    "segments_info",
}
ANNOTATION_KEYS = {"bbox", "bbox_mode", "category_id", "segmentation", "keypoints", "iscrowd"}
SIZES = {BoxMode.XYXY_ABS: 4, BoxMode.XYWH_ABS: 4, BoxMode.XYWHA_ABS: 5}


# What the tutorial shows


def test_a_function_that_returns_samples_is_registered():
    def my_dataset_function():
        return [{"file_name": "a.jpg", "image_id": 1, "annotations": []}]

    DatasetCatalog.register("my_dataset", my_dataset_function)
    data: list[dict] = DatasetCatalog.get("my_dataset")
    assert data == my_dataset_function()
    assert DatasetCatalog.get("my_dataset") == data


def test_metadata_is_set_by_attribute():
    MetadataCatalog.get("my_dataset").thing_classes = ["person", "dog"]
    assert MetadataCatalog.get("my_dataset").thing_classes == ["person", "dog"]


@pytest.fixture
def json_annotation(tmp_path):
    """``json_annotation.json`` and ``path/to/image/dir`` in the current folder."""
    content = {
        "images": [{"id": 3, "file_name": "a.png", "height": 4, "width": 6}],
        "categories": [{"id": 5, "name": "person"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 3,
                "category_id": 5,
                "bbox": [0, 0, 2, 2],
                "iscrowd": 0,
                "dp_U": [7, 8],
            }
        ],
    }
    (tmp_path / "json_annotation.json").write_text(json.dumps(content))
    (tmp_path / "path" / "to" / "image" / "dir").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "path" / "to" / "image" / "dir" / "a.png")
    return tmp_path


def test_a_dataset_in_coco_s_format_is_registered_in_one_line(json_annotation, monkeypatch):
    monkeypatch.chdir(json_annotation)
    register_coco_instances("my_coco", {}, "json_annotation.json", "path/to/image/dir")
    (record,) = get_detection_dataset_dicts("my_coco")
    assert record["file_name"] == "path/to/image/dir/a.png"
    metadata = MetadataCatalog.get("my_coco")
    assert metadata.thing_classes == ["person"]
    assert metadata.thing_dataset_id_to_contiguous_id == {5: 0}
    assert metadata.evaluator_type == "coco"
    assert metadata.json_file == "json_annotation.json"


def test_further_keys_of_annotations_are_taken_along_where_asked(json_annotation):
    file = json_annotation / "json_annotation.json"
    (record,) = load_coco_json(file, json_annotation, extra_annotation_keys=["dp_U"])
    assert record["annotations"][0]["dp_U"] == [7, 8]
    assert record["annotations"][0]["category_id"] == 5  # no name of a dataset, no mapping


# The documented format


def check_record(record: Mapping[str, Any], metadata: Metadata, *, files: bool = True) -> None:
    """Assert that a sample is as the tutorial says.

    Args:
        record: the sample.
        metadata: with the classes.
        files: whether the files that it names are there.
    """
    known = {key for key in record if not key.endswith("_category_ids")}  # LVIS' own
    assert known <= RECORD_KEYS
    named = [record[key] for key in RECORD_KEYS & set(record) if key.endswith("file_name")]
    assert named
    assert all(isinstance(name, str) for name in named)
    assert not files or all(os.path.isfile(name) for name in named)
    for side in {"height", "width"} & set(record):
        assert type(record[side]) is int
        assert record[side] > 0
    assert isinstance(record.get("image_id", 0), int | str)
    for annotation in record.get("annotations", ()):
        check_annotation(annotation, len(metadata.thing_classes))
    for segment in record.get("segments_info", ()):
        classes = metadata.thing_classes if segment["isthing"] else metadata.stuff_classes
        assert type(segment["id"]) is int
        assert segment["category_id"] in range(len(classes))
        assert segment.get("iscrowd", 0) in (0, 1)


def check_annotation(annotation: Mapping[str, Any], num_classes: int) -> None:
    assert set(annotation) <= ANNOTATION_KEYS | {"difficult"}
    assert isinstance(annotation["bbox_mode"], BoxMode)
    assert len(annotation["bbox"]) == SIZES[annotation["bbox_mode"]]
    assert all(isinstance(value, int | float) for value in annotation["bbox"])
    assert type(annotation["category_id"]) is int
    assert annotation["category_id"] in range(num_classes)
    assert annotation.get("iscrowd", 0) in (0, 1)
    segmentation = annotation.get("segmentation", [])
    if isinstance(segmentation, dict):
        assert set(segmentation) == {"size", "counts"}
        assert isinstance(segmentation["counts"], bytes | str)
    for polygon in segmentation if isinstance(segmentation, list) else ():
        assert len(polygon) >= 6
        assert len(polygon) % 2 == 0
    assert len(annotation.get("keypoints", ())) % 3 == 0


def check_all(
    records: Iterable[Mapping[str, Any]], metadata: Metadata, *, files: bool = True
) -> int:
    count = 0
    for record in records:
        check_record(record, metadata, files=files)
        count += 1
    identities = [record["image_id"] for record in records if "image_id" in record]
    assert len(set(identities)) == len(identities)
    return count


def test_real_coco_follows_the_format(shared_data):
    root = shared_data / "coco54"
    records = load_coco_json(root / "instances_coco54.json", root / "images", "documented_coco")
    assert check_all(records, MetadataCatalog.get("documented_coco")) == 54
    masks = [a["segmentation"] for r in records for a in r["annotations"]]
    assert {type(mask) for mask in masks} == {list, dict}  # polygons, and run lengths of crowds


def test_real_keypoints_follow_the_format(shared_data):
    root = shared_data / "keypoints" / "mmpose_coco"
    (file,) = root.glob("test_coco.json")
    records = load_coco_json(file, root, "documented_keypoints")
    assert check_all(records, MetadataCatalog.get("documented_keypoints")) == 4
    points = [a["keypoints"] for r in records for a in r["annotations"] if "keypoints" in a]
    assert {len(values) for values in points} == {51}


def test_real_lvis_follows_the_format(shared_data):
    records = load_lvis_json(
        shared_data / "lvis" / "lvis_val_100.json", "coco", "lvis_v0.5_documented"
    )
    metadata = MetadataCatalog.get("lvis_v0.5_documented")
    assert check_all(records, metadata, files=False) == 100


def test_real_voc_follows_the_format(shared_data):
    metadata = Metadata(name="cells", thing_classes=["Platelets", "RBC", "WBC"])
    root = shared_data / "bccd" / "BCCD"
    records = load_voc_instances(root, "trainval", metadata.thing_classes)
    assert check_all(records, metadata) == 292


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_panoptic_segments_follow_the_format(shared_data, split):
    root = shared_data / "coco_panoptic"
    metadata = Metadata(name="coco", **read_vocabulary("coco_panoptic_standard"))
    records = load_coco_panoptic_json(
        root / "annotations" / f"panoptic_{split}.json",
        root / split,
        root / "annotations" / f"panoptic_{split}",
        metadata,
    )
    assert check_all(records, metadata) in (24, 25)


def test_real_semantic_labels_follow_the_format(shared_data):
    root = shared_data / "ade20k"
    records = load_sem_seg(root / "annotations", root / "images")
    assert check_all(records, Metadata(name="ade20k")) == 3


def test_real_yolo_follows_the_format(shared_data, tmp_path):
    source = shared_data / "coco_panoptic"
    for folder, target in (
        ("images", "val2017"),
        ("labels", "yolo_instance_segmentation/val2017"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "val2017").symlink_to(source / target)
    (tmp_path / "data.yaml").write_text(
        (source / "yolo_instance_segmentation_config.yaml").read_text()
    )
    records = load_yolo(tmp_path / "data.yaml", "val")
    metadata = Metadata(name="yolo", thing_classes=[str(i) for i in range(80)])
    assert check_all(records, metadata) == 24


def test_cityscapes_follows_the_format(tmp_path, write_cityscapes):
    names = ("aachen_000000_000019", "ulm_000001_000019")
    root = write_cityscapes(tmp_path, "val", names)
    prepare_cityscapes(root)
    folders = root / "leftImg8bit" / "val", root / "gtFine" / "val"
    metadata = Metadata(name="cityscapes", **read_vocabulary("cityscapes"))
    for from_json in (True, False):
        for to_polygons in (True, False):
            records = load_cityscapes_instances(*folders, from_json, to_polygons)
            assert check_all(records, metadata) == 2
    assert check_all(load_cityscapes_semantic(*folders), metadata) == 2
    panoptic = Metadata(name="panoptic", **read_vocabulary("cityscapes_panoptic"))
    target = root / "gtFine" / "cityscapes_panoptic_val"
    records = load_cityscapes_panoptic(*folders, target.with_suffix(".json"), target, panoptic)
    assert check_all(records, panoptic) == 2


@pytest.mark.parametrize("panoptic", [None, "standard", "separated"])
def test_generated_shapes_follow_the_format(tmp_path_factory, panoptic):
    folder: Path = tmp_path_factory.mktemp("shapes") / "set"
    generate_shapes(folder, 3, image_size=64, seed=1)
    register_shapes("documented_shapes", folder, panoptic=panoptic)
    records = DatasetCatalog.get("documented_shapes")
    assert check_all(records, MetadataCatalog.get("documented_shapes")) == 3
