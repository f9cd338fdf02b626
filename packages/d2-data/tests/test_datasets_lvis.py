import json
import shutil

import pytest

from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import get_lvis_instances_meta, load_lvis_json, register_lvis_instances
from d2_data.image_reading import read_image_size
from d2_structures import BoxMode

TRIANGLE = [[0.0, 0.0, 4.0, 0.0, 4.0, 3.0]]


def image(number, **more):
    entry = {
        "id": number,
        "height": 4,
        "width": 6,
        "coco_url": f"http://images.cocodataset.org/val2017/{number:012}.jpg",
        "neg_category_ids": [3],
        "not_exhaustive_category_ids": [],
    }
    return entry | more


def annotation(number, image_id, category_id, **more):
    entry = {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [0.0, 0.0, 4.0, 3.0],
        "segmentation": TRIANGLE,
        "area": 6,
    }
    return entry | more


def category(number, name, **more):
    return {"id": number, "name": name, "synset": f"{name}.n.01"} | more


@pytest.fixture
def write(tmp_path):
    def write_file(**changes):
        content = {
            "images": [image(9), image(4)],
            "annotations": [annotation(1, 9, 2), annotation(2, 9, 1)],
            "categories": [category(1, "aerosol_can"), category(2, "air_conditioner")],
        }
        path = tmp_path / "lvis.json"
        path.write_text(json.dumps(content | changes))
        return path

    return write_file


def test_records_follow_the_standard_format(write):
    first, second = load_lvis_json(write(), "coco/")
    assert first["image_id"] == 4
    assert second == {
        "file_name": "coco/val2017/000000000009.jpg",
        "height": 4,
        "width": 6,
        "image_id": 9,
        "neg_category_ids": [3],
        "not_exhaustive_category_ids": [],
        "annotations": [
            {
                "bbox": [0.0, 0.0, 4.0, 3.0],
                "bbox_mode": BoxMode.XYWH_ABS,
                "segmentation": TRIANGLE,
                "category_id": 1,
            },
            {
                "bbox": [0.0, 0.0, 4.0, 3.0],
                "bbox_mode": BoxMode.XYWH_ABS,
                "segmentation": TRIANGLE,
                "category_id": 0,
            },
        ],
    }


def test_without_a_name_the_classes_are_the_ids_minus_1_and_no_metadata_is_touched(write):
    before = len(MetadataCatalog.data)
    load_lvis_json(write(), "coco")
    assert len(MetadataCatalog.data) == before


@pytest.mark.parametrize("name", ["lvis_v1", "lvis_v1_train", "my_v1"])
def test_a_name_with_its_version_has_the_classes_of_lvis(write, name):
    (_, record) = load_lvis_json(write(), "coco", name)
    metadata = MetadataCatalog.get(name)
    assert len(metadata.thing_classes) == len(metadata.class_image_count) == 1203
    assert metadata.thing_classes[record["annotations"][0]["category_id"]] == "air_conditioner"


def test_a_cocofied_dataset_has_the_classes_and_ids_of_coco(write):
    file = write(
        annotations=[annotation(1, 9, 90), annotation(2, 9, 1)],
        categories=[category(1, "person"), category(90, "toothbrush")],
    )
    (_, record) = load_lvis_json(file, "coco", "lvis_v1_val_cocofied")
    assert [a["category_id"] for a in record["annotations"]] == [79, 0]
    assert len(MetadataCatalog.get("lvis_v1_val_cocofied").thing_classes) == 80


def test_a_name_without_version_has_the_classes_of_the_file(write):
    file = write(
        annotations=[annotation(1, 9, 50)],
        categories=[category(50, "cup", image_count=3), category(7, "pen", image_count=8)],
    )
    (_, record) = load_lvis_json(file, "coco", "stationery")
    assert record["annotations"][0]["category_id"] == 1
    metadata = MetadataCatalog.get("stationery")
    assert metadata.thing_classes == ["pen", "cup"]
    assert metadata.class_image_count == [
        {"id": 7, "image_count": 8},
        {"id": 50, "image_count": 3},
    ]


def test_images_that_are_not_coco_s_have_their_own_names(write):
    file = write(images=[image(9, coco_url=None, file_name="sub/a.png")])
    (record,) = load_lvis_json(file, "photos")
    assert record["file_name"] == "photos/sub/a.png"


def test_a_test_set_has_images_and_no_annotations(tmp_path):
    file = tmp_path / "image_info.json"
    file.write_text(json.dumps({"images": [image(9)], "categories": [category(1, "cup")]}))
    (record,) = load_lvis_json(file, "coco", "lvis_v1_test_dev")
    assert record["annotations"] == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": [image(9, coco_url=None)]}, ValueError, "image id 9 has neither 'coco_url'"),
        (
            {"annotations": [annotation(5, 9, 1, segmentation=[[1, 2, 3, 4]])]},
            ValueError,
            "annotation id 5 of image 9 has no valid polygon",
        ),
        ({"annotations": [annotation(5, 9, 8)]}, KeyError, "annotation id 5 of image 9"),
        (
            {"categories": [category(1, "a"), category(2, "b"), category(2000, "z")]},
            ValueError,
            r"declares categories that 'lvis_v1_mine' does not have, e\.g\. \[2000\].* LVIS v1",
        ),
    ],
)
def test_malformed_files_are_named(write, changes, error, message):
    with pytest.raises(error, match=rf"lvis\.json'.*{message}"):
        load_lvis_json(write(**changes), "coco", "lvis_v1_mine")


# Metadata and registration


def test_metadata_of_a_version_is_that_of_its_built_in_datasets():
    v05, v1 = get_lvis_instances_meta("lvis_v0.5"), get_lvis_instances_meta("lvis_v1")
    assert v05["thing_classes"] == MetadataCatalog.get("lvis_v0.5_train").thing_classes
    assert len(v05["thing_classes"]) == 1230
    assert v1["class_image_count"] == MetadataCatalog.get("lvis_v1_train").class_image_count
    assert v1["class_image_count"][0]["id"] == 1
    assert get_lvis_instances_meta("lvis_v0.5_val_cocofied")["thing_classes"][0] == "person"


def test_a_version_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"'lvis_v2' are not known.*'cocofied', 'v0\.5', 'v1'"):
        get_lvis_instances_meta("lvis_v2")


def test_a_registered_dataset_is_read_when_asked_for(write, tmp_path):
    file = tmp_path / "lvis.json"
    register_lvis_instances("lvis_v1_mine", {"keepsake": 1}, file, tmp_path / "coco")
    metadata = MetadataCatalog.get("lvis_v1_mine")
    assert metadata.as_dict() == {
        "name": "lvis_v1_mine",
        "json_file": str(file),
        "image_root": str(tmp_path / "coco"),
        "evaluator_type": "lvis",
        "keepsake": 1,
    }
    write()
    assert len(DatasetCatalog.get("lvis_v1_mine")) == 2
    assert len(metadata.thing_classes) == 1203


# Real files


def test_the_real_sample_has_the_counts_of_its_readme(shared_data, tmp_path):
    (tmp_path / "val2017").mkdir()
    photographs = sorted((shared_data / "lvis" / "images").iterdir())
    for photograph in photographs:
        shutil.copy(photograph, tmp_path / "val2017")
    records = load_lvis_json(shared_data / "lvis/lvis_val_100.json", tmp_path, "lvis_v0.5_val_100")
    assert len(records) == 100
    assert sum(len(record["annotations"]) for record in records) == 977
    classes = MetadataCatalog.get("lvis_v0.5_val_100").thing_classes
    assert all(
        0 <= a["category_id"] < len(classes) == 1230 for r in records for a in r["annotations"]
    )
    there = [r for r in records if (tmp_path / "val2017" / r["file_name"].split("/")[-1]).exists()]
    assert len(there) == len(photographs) == 4
    assert all(read_image_size(r["file_name"]) == (r["height"], r["width"]) for r in there)
