import json
import pickle

import numpy as np
import pytest
from PIL import Image

from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.datasets import (
    load_coco_panoptic_json,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.formats import decode_panoptic_png

CATEGORIES = [
    {"id": 184, "name": "tree", "isthing": 0, "color": [1, 2, 3]},
    {"id": 2, "name": "bicycle", "isthing": 1, "color": [4, 5, 6]},
]


def segment(number, category, **more):
    return {"id": number, "category_id": category, "iscrowd": 0, "area": 4, **more}


def content(**changes):
    annotation = {
        "image_id": 7,
        "file_name": "a.png",
        "segments_info": [segment(10, 184), segment(300, 2, iscrowd=1)],
    }
    image = {"id": 7, "file_name": "photo.jpeg", "height": 4, "width": 6}
    file = {"images": [image], "annotations": [annotation], "categories": CATEGORIES}
    return file | changes


@pytest.fixture
def write(tmp_path):
    def write_file(**changes):
        path = tmp_path / "panoptic.json"
        path.write_text(json.dumps(content(**changes)))
        return path

    return write_file


def load(file, metadata=None):
    metadata = metadata or Metadata(name="mine")
    return load_coco_panoptic_json(file, "images", "png", metadata)


def test_records_follow_the_standard_format(write):
    assert load(write()) == [
        {
            "file_name": "images/photo.jpeg",
            "image_id": 7,
            "height": 4,
            "width": 6,
            "pan_seg_file_name": "png/a.png",
            "segments_info": [
                segment(10, 1, isthing=False),
                segment(300, 0, isthing=True, iscrowd=1),
            ],
        }
    ]


def test_a_file_without_images_names_photographs_as_their_pngs(write):
    (record,) = load(write(images=[]))
    assert record["file_name"] == "images/a.jpg"
    assert "height" not in record


def test_categories_of_the_file_fill_metadata_that_has_none(write):
    metadata = Metadata(name="mine")
    load(write(), metadata)
    load(write(), metadata)  # what is equal may be set again
    assert metadata.as_dict() == {
        "name": "mine",
        "thing_classes": ["bicycle", "tree"],
        "stuff_classes": ["bicycle", "tree"],
        "thing_colors": [(4, 5, 6), (1, 2, 3)],
        "stuff_colors": [(4, 5, 6), (1, 2, 3)],
        "thing_dataset_id_to_contiguous_id": {2: 0},
        "stuff_dataset_id_to_contiguous_id": {184: 1},
    }


def test_metadata_that_knows_the_categories_decides(write):
    metadata = Metadata(name="coco", **read_vocabulary("coco_panoptic_standard"))
    before = metadata.as_dict()
    (record,) = load(write(), metadata)
    tree, bicycle = record["segments_info"]
    assert metadata.stuff_classes[tree["category_id"]] == "tree-merged"
    assert metadata.thing_classes[bicycle["category_id"]] == "bicycle"
    assert metadata.as_dict() == before


def test_a_segment_of_an_unknown_category_is_named(write):
    metadata = Metadata(name="mine", thing_dataset_id_to_contiguous_id={2: 0})
    with pytest.raises(KeyError, match=r"image 7 has a segment 10 with .* 184, .* 'mine'.*\[2\]"):
        load(write(), metadata)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": []}, "has no annotations"),
        ({"annotations": [{"image_id": 7, "bbox": []}]}, "image 7 lacks 'segments_info'; is it of"),
        ({"annotations": {"7": []}}, "has 'annotations' .*; wanted a list of objects"),
        ({"annotations": [[]]}, r"has 'annotations' with \[\] at place 0"),
        ({"categories": [{"id": 2, "name": "bicycle"}]}, "category 2 lacks 'isthing'"),
        ({"categories": [{"id": 2, "name": 3, "isthing": 1}]}, "category 2 has 'name' 3; wanted a"),
        ({"images": [{"id": 7, "file_name": 5}]}, "image 7 has 'file_name' 5; wanted a text"),
    ],
)
def test_malformed_files_are_named(write, changes, message):
    with pytest.raises(ValueError, match=rf"panoptic\.json'.*{message}"):
        load(write(**changes))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([{"id": 3}], ": segment 3 lacks 'category_id'"),
        ([{"category_id": 2}], ": segment None lacks 'id'"),
        ([segment("one", 2)], ": segment 'one' has 'id' 'one'; wanted a whole number"),
        ([segment(1, 2), segment(1, 2)], " has two segments with the same id"),
    ],
)
def test_malformed_segments_are_named(write, segments, message):
    annotation = {"image_id": 7, "file_name": "a.png", "segments_info": segments}
    with pytest.raises(ValueError, match=f"the annotation of image 7{message}"):
        load(write(annotations=[annotation]))


# Registration


def test_a_registered_dataset_is_read_when_asked_for(write, tmp_path):
    register_coco_panoptic(
        "mine_panoptic", {"keepsake": 3}, tmp_path, tmp_path / "png", tmp_path / "panoptic.json"
    )
    metadata = MetadataCatalog.get("mine_panoptic")
    assert metadata.as_dict() == {
        "name": "mine_panoptic",
        "image_root": str(tmp_path),
        "panoptic_root": str(tmp_path / "png"),
        "panoptic_json": str(tmp_path / "panoptic.json"),
        "json_file": None,
        "evaluator_type": "coco_panoptic_seg",
        "ignore_label": 255,
        "label_divisor": 1000,
        "keepsake": 3,
    }
    write()
    assert len(DatasetCatalog.get("mine_panoptic")) == 1
    assert metadata.stuff_classes == ["bicycle", "tree"]
    assert len(pickle.loads(pickle.dumps(DatasetCatalog["mine_panoptic"]))()) == 1


def test_given_metadata_wins_over_the_defaults(tmp_path):
    register_coco_panoptic("mine_panoptic", {"ignore_label": 0}, "a", "b", "c.json", "d.json")
    assert MetadataCatalog.get("mine_panoptic").ignore_label == 0
    assert MetadataCatalog.get("mine_panoptic").json_file == "d.json"


@pytest.fixture
def separated(tmp_path):
    """Two photographs with objects and label images, registered as ``mine_*``."""
    images = [
        {"id": i, "file_name": f"{name}.jpg", "height": 4, "width": 6}
        for i, name in enumerate("ab")
    ]
    objects = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 2, 2], "iscrowd": 0}]
    file = {"images": images, "annotations": objects, "categories": CATEGORIES[1:]}
    (tmp_path / "instances.json").write_text(json.dumps(file))
    for folder, suffix in (("images", "jpg"), ("stuff", "png")):
        (tmp_path / folder).mkdir()
        for name in "ab":
            Image.new("L", (6, 4)).save(tmp_path / folder / f"{name}.{suffix}")
    register_coco_panoptic_separated(
        "mine",
        {"stuff_classes": ["things", "tree"]},
        tmp_path / "images",
        tmp_path / "png",
        tmp_path / "panoptic.json",
        tmp_path / "stuff",
        tmp_path / "instances.json",
    )
    return tmp_path


def test_the_separated_layout_has_objects_and_label_images(separated):
    first, second = DatasetCatalog.get("mine_separated")
    assert first["sem_seg_file_name"] == str(separated / "stuff" / "a.png")
    assert first["annotations"] == []
    assert second["annotations"][0]["category_id"] == 0
    metadata = MetadataCatalog.get("mine_separated")
    assert metadata.thing_classes == ["bicycle"]
    assert metadata.stuff_classes == ["things", "tree"]
    assert metadata.evaluator_type == "coco_panoptic_seg"
    assert metadata.panoptic_json == str(separated / "panoptic.json")


def test_the_semantic_part_is_a_dataset_of_its_own(separated):
    records = DatasetCatalog.get("mine_stuffonly")
    assert [sorted(record) for record in records] == 2 * [["file_name", "sem_seg_file_name"]]
    assert MetadataCatalog.get("mine_stuffonly").evaluator_type == "sem_seg"
    assert MetadataCatalog.get("mine_stuffonly").ignore_label == 255


def test_a_photograph_without_label_image_is_named_with_the_command_that_makes_it(separated):
    (separated / "stuff" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 images .*b\.jpg' \(id 1\); 'd2 data prepare"):
        DatasetCatalog.get("mine_separated")


# Real files


@pytest.mark.parametrize(("split", "count"), [("train2017", 25), ("val2017", 24)])
def test_real_panoptic_annotations_of_coco_are_read(shared_data, split, count):
    root = shared_data / "coco_panoptic"
    metadata = Metadata(name="coco", **read_vocabulary("coco_panoptic_standard"))
    annotations = root / "annotations"
    records = load_coco_panoptic_json(
        annotations / f"panoptic_{split}.json",
        root / split,
        annotations / f"panoptic_{split}",
        metadata,
    )
    assert len(records) == count
    for record in records:
        with Image.open(record["file_name"]) as photograph:
            assert photograph.size == (record["width"], record["height"])
        ids = decode_panoptic_png(record["pan_seg_file_name"])
        areas = {s["id"]: s["area"] for s in record["segments_info"]}
        assert areas == {number: int((ids == number).sum()) for number in areas}


def test_the_sample_of_the_panoptic_api_is_read_with_the_categories_of_its_file(shared_data):
    root = shared_data / "panoptic_sample"
    metadata = Metadata(name="sample")
    records = load_coco_panoptic_json(
        root / "panoptic_examples.json",
        root / "input_images",
        root / "panoptic_examples",
        metadata,
    )
    assert len(records) == 2
    assert len(metadata.stuff_classes) == 133
    person, *_ = records[0]["segments_info"]
    assert metadata.thing_classes[person["category_id"]] == "person"
    assert all(np.asarray(Image.open(r["file_name"])).size for r in records)
