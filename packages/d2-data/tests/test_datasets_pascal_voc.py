import logging
from collections import Counter
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import load_voc_instances, register_pascal_voc
from d2_data.datasets.pascal_voc import voc_class_names
from d2_structures import BoxMode

CLASSES = ("cat", "dog")


def voc_object(name, xmin, ymin, xmax, ymax, more=""):
    box = "".join(
        f"<{tag}>{value}</{tag}>"
        for tag, value in zip(
            ("xmin", "ymin", "xmax", "ymax"), (xmin, ymin, xmax, ymax), strict=True
        )
    )
    return f"<object><name>{escape(name)}</name>{more}<bndbox>{box}</bndbox></object>"


SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def write(root, identity, *objects, size=SIZE, filename=None, split="train"):
    """Add an image to a folder in Pascal VOC's format."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    with (root / "ImageSets" / "Main" / f"{split}.txt").open("a") as file:
        file.write(f"{identity}\n")
    body = f"<filename>{filename or identity + '.jpg'}</filename>{size}{''.join(objects)}"
    (root / "Annotations" / f"{identity}.xml").write_text(f"<annotation>{body}</annotation>")
    return root


def test_boxes_count_pixels_from_0_and_reach_the_end_of_the_last_one(tmp_path):
    root = write(tmp_path, "000001", voc_object("dog", 11, 21, 30, 40))
    assert load_voc_instances(str(root), "train", CLASSES) == [
        {
            "file_name": str(root / "JPEGImages" / "000001.jpg"),
            "image_id": "000001",
            "height": 40,
            "width": 60,
            "annotations": [
                {
                    "bbox": [10.0, 20.0, 30.0, 40.0],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": 1,
                }
            ],
        }
    ]


def test_images_come_in_the_order_of_the_list(tmp_path):
    for identity in ("b", "a", "c"):
        write(tmp_path, identity)
    records = load_voc_instances(tmp_path, "train", CLASSES)
    assert [record["image_id"] for record in records] == ["b", "a", "c"]


def test_lists_of_one_class_are_read_too(tmp_path):
    write(tmp_path, "a")
    (tmp_path / "ImageSets" / "Main" / "cat_train.txt").write_text("a  1\n\n")
    (record,) = load_voc_instances(tmp_path, "cat_train", CLASSES)
    assert record["image_id"] == "a"


def test_difficult_objects_are_marked(tmp_path):
    marked = voc_object("dog", 1, 1, 2, 2, "<difficult>1</difficult>")
    plain = voc_object("dog", 1, 1, 2, 2, "<difficult>0</difficult>")
    (record,) = load_voc_instances(write(tmp_path, "a", marked, plain), "train", CLASSES)
    assert [a.get("difficult") for a in record["annotations"]] == [1, None]


def test_parts_of_an_object_are_no_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    root = write(tmp_path, "a", voc_object("dog", 1, 1, 2, 2, part))
    (record,) = load_voc_instances(root, "train", CLASSES)
    assert len(record["annotations"]) == 1


def test_the_extension_is_that_of_the_recorded_name(tmp_path):
    write(tmp_path, "a", filename="whatever.png")
    write(tmp_path, "b", filename="b.v2")
    first, second = load_voc_instances(tmp_path, "train", CLASSES)
    assert first["file_name"].endswith("JPEGImages/a.png")
    assert second["file_name"].endswith("JPEGImages/b.jpg")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_missing_is_that_of_the_image(tmp_path, size):
    write(tmp_path, "a", size=size)
    Image.new("RGB", (31, 17)).save(tmp_path / "JPEGImages" / "a.jpg")
    (record,) = load_voc_instances(tmp_path, "train", CLASSES)
    assert (record["height"], record["width"]) == (17, 31)


@pytest.mark.parametrize(
    "corners", [(5, 5, 5, 9), (9, 5, 5, 9), (0, 5, 5, 9), (5, 5, 61, 9), (5, 5, 9, 41)]
)
def test_boxes_without_inside_or_beyond_the_image_are_kept_and_counted(tmp_path, caplog, corners):
    write(tmp_path, "a", voc_object("dog", 1, 1, 60, 40), voc_object("cat", *corners))
    with caplog.at_level(logging.WARNING):
        (record,) = load_voc_instances(tmp_path, "train", CLASSES)
    assert len(record["annotations"]) == 2
    (warning,) = caplog.records
    assert warning.getMessage().startswith("1 boxes are a point or a line, or leave their image")
    assert "a.xml': object 2" in warning.getMessage()


number = st.integers(1, 40)
names = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(names, number, number, number, number), max_size=5))
def test_every_object_comes_out_in_its_class_and_place(tmp_path, objects):
    (tmp_path / "ImageSets" / "Main" / "train.txt").unlink(missing_ok=True)
    root = write(tmp_path, "a", *(voc_object(*entry) for entry in objects))
    classes = voc_class_names(root, ["train"])
    assert classes == sorted({entry[0] for entry in objects})
    (record,) = load_voc_instances(root, "train", classes)
    read = [(classes[a["category_id"]], *a["bbox"]) for a in record["annotations"]]
    assert read == [(name, x1 - 1, y1 - 1, x2, y2) for name, x1, y1, x2, y2 in objects]


def test_absent_files_are_named(tmp_path):
    write(tmp_path, "a")
    with pytest.raises(FileNotFoundError, match=r"Main/val\.txt' does not exist.*\['train'\]"):
        load_voc_instances(tmp_path, "val", CLASSES)
    (tmp_path / "Annotations" / "a.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.xml' does not exist, but a list .* image 'a'"):
        load_voc_instances(tmp_path, "train", CLASSES)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (voc_object("cow", 1, 1, 2, 2), r"object 1 is a 'cow', .* \['cat', 'dog'\]"),
        (voc_object("", 1, 1, 2, 2), "object 1 has no <name>"),
        (voc_object("dog", "", 1, 2, 2), r"object 1 has no <bndbox><xmin>"),
        (voc_object("dog", "left", 1, 2, 2), "object 1 has the box .*'left'"),
        (voc_object("dog", "nan", 1, 2, 2), "object 1 has the box .*'nan'"),
        ("<object>", "is not valid XML"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, body, message):
    with pytest.raises(ValueError, match=rf"a\.xml'.*{message}"):
        load_voc_instances(write(tmp_path, "a", body), "train", CLASSES)


def test_a_size_that_cannot_be_known_is_named(tmp_path):
    write(tmp_path, "a", size="")
    with pytest.raises(ValueError, match=r"a\.xml' has no size, and its image cannot be read"):
        load_voc_instances(tmp_path, "train", CLASSES)
    write(tmp_path, "b", size="<size><width>wide</width></size>", split="val")
    with pytest.raises(ValueError, match=r"b\.xml': the size is no number"):
        load_voc_instances(tmp_path, "val", CLASSES)


def test_a_registered_dataset_has_its_classes_before_it_is_read(tmp_path):
    register_pascal_voc("cells", tmp_path, "train", 2012, CLASSES)
    metadata = MetadataCatalog.get("cells")
    assert metadata.as_dict() == {
        "name": "cells",
        "thing_classes": ["cat", "dog"],
        "dirname": str(tmp_path),
        "year": 2012,
        "split": "train",
        "evaluator_type": "pascal_voc",
    }
    write(tmp_path, "a", voc_object("dog", 1, 1, 2, 2))
    (record,) = DatasetCatalog.get("cells")
    assert record["annotations"][0]["category_id"] == 1


def test_the_classes_of_the_challenge_are_the_default(tmp_path):
    register_pascal_voc("mine", tmp_path, "train", 2007)
    assert MetadataCatalog.get("mine").thing_classes[:2] == ["aeroplane", "bicycle"]


def test_the_real_blood_cells_have_the_counts_of_their_readme(shared_data, caplog):
    root = shared_data / "bccd" / "BCCD"
    classes = voc_class_names(root, ["trainval", "test"])
    assert classes == ["Platelets", "RBC", "WBC"]
    with caplog.at_level(logging.WARNING):
        records = [
            record
            for split in ("train", "val", "test")
            for record in load_voc_instances(root, split, classes)
        ]
    assert len(records) == len({record["image_id"] for record in records}) == 364
    counts = Counter(classes[a["category_id"]] for r in records for a in r["annotations"])
    assert counts == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    assert {(r["height"], r["width"]) for r in records} == {(480, 640)}
    # Two boxes of the original are a single point.
    warned = [int(entry.getMessage().split()[0]) for entry in caplog.records]
    assert sum(warned) == 2
