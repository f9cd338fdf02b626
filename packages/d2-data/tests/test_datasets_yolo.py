import logging
import math

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import load_yolo, register_yolo
from d2_data.datasets.yolo import read_yolo_description, yolo_metadata
from d2_structures import BoxMode

WIDTH, HEIGHT = 200, 100


def write(root, labels, description=None, split="train"):
    """Write a dataset; ``labels`` are the lines of each image, None for one without file."""
    for name, lines in labels.items():
        image = root / "images" / split / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(image)
        if lines is not None:
            file = root / "labels" / split / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(lines)
    content = {"train": "images/train", "names": ["cat", "dog"]} | (description or {})
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root / "data.yaml"


def annotations(root, lines, description=None, **options):
    (record,) = load_yolo(write(root, {"a": lines}, description), "train", **options)
    return record["annotations"]


# Lines


def test_a_box_is_its_centre_and_size_in_fractions(tmp_path):
    records = load_yolo(write(tmp_path, {"b": "", "a": "1 0.5 0.4 0.2 0.4\n\n"}), "train")
    assert records == [
        {
            "file_name": str(tmp_path / "images/train/a.png"),
            "image_id": 1,
            "height": HEIGHT,
            "width": WIDTH,
            "annotations": [
                {
                    "bbox": pytest.approx([80, 20, 40, 40]),
                    "bbox_mode": BoxMode.XYWH_ABS,
                    "category_id": 1,
                }
            ],
        },
        {
            "file_name": str(tmp_path / "images/train/b.png"),
            "image_id": 2,
            "height": HEIGHT,
            "width": WIDTH,
            "annotations": [],
        },
    ]


def test_corners_are_a_polygon_with_the_box_around_it(tmp_path):
    (annotation,) = annotations(tmp_path, "0 0.1 0.1 0.5 0.1 0.5 0.3")
    assert annotation["segmentation"] == [pytest.approx([20, 10, 100, 10, 100, 30])]
    assert annotation["bbox"] == pytest.approx([20, 10, 80, 20])


def test_four_corners_are_a_rotated_box_where_asked(tmp_path):
    line = "0 0.1 0.1 0.5 0.1 0.5 0.3 0.1 0.3"
    (polygon,) = annotations(tmp_path, line)
    assert len(polygon["segmentation"][0]) == 8
    (box,) = annotations(tmp_path, line, rotated=True)
    assert box["bbox"] == pytest.approx([60, 20, 80, 20, 0])
    assert box["bbox_mode"] == BoxMode.XYWHA_ABS
    assert "segmentation" not in box


sides = st.floats(1, 60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sides, sides, st.floats(-90, 89.9), st.integers(0, 3), st.booleans())
def test_the_corners_of_a_rotated_box_give_the_box(tmp_path, width, height, angle, first, turned):
    box = np.array([100, 50, width, height])
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    halves = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * [width, height]
    corners = [[100 + x * cos + y * sin, 50 + y * cos - x * sin] for x, y in halves]
    corners = np.roll(corners[::-1] if turned else corners, first, axis=0) / [WIDTH, HEIGHT]
    line = "0 " + " ".join(repr(float(v)) for v in corners.reshape(-1))
    (annotation,) = annotations(tmp_path, line, rotated=True)
    x, y, w, h, degrees = annotation["bbox"]
    if (
        not math.isclose(w, width, rel_tol=1e-4)
        or abs(math.cos(math.radians(degrees - angle))) < 0.5
    ):
        w, h, degrees = h, w, degrees + 90
    assert [x, y, w, h] == pytest.approx(box, rel=1e-4)
    assert abs(math.sin(math.radians(degrees - angle))) == pytest.approx(0, abs=1e-3)


def test_keypoints_follow_the_box(tmp_path):
    shape = {"kpt_shape": [2, 3], "flip_idx": [1, 0]}
    line = "0 0.5 0.5 0.2 0.4 0.25 0.5 2 0.9 0.9 0"
    (annotation,) = annotations(tmp_path, line, shape)
    assert annotation["keypoints"] == [50, 50, 2, 0, 0, 0]
    assert annotation["bbox"] == pytest.approx([80, 30, 40, 40])


def test_keypoints_without_visibility_are_seen_unless_in_the_corner(tmp_path):
    (annotation,) = annotations(tmp_path, "0 0.5 0.5 0.2 0.4 0.25 0.5 0 0", {"kpt_shape": [2, 2]})
    assert annotation["keypoints"] == [50, 50, 2, 0, 0, 0]


fraction = st.floats(0, 1, allow_subnormal=False)
rows = st.one_of(
    st.tuples(fraction, fraction, fraction, fraction),
    st.lists(st.tuples(fraction, fraction), min_size=3, max_size=6).map(
        lambda points: tuple(value for point in points for value in point)
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), rows), max_size=5))
def test_every_line_is_an_object_in_its_place(tmp_path, objects):
    lines = "".join(f"{c} {' '.join(map(repr, row))}\n" for c, row in objects)
    read = annotations(tmp_path, lines)
    assert [a["category_id"] for a in read] == [c for c, _ in objects]
    for annotation, (_, row) in zip(read, objects, strict=True):
        x, y, w, h = annotation["bbox"]
        if len(row) == 4:
            back = [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT]
        else:
            back = (np.array(annotation["segmentation"][0]).reshape(-1, 2) / [WIDTH, HEIGHT]).flat
        assert list(back) == pytest.approx(row, abs=1e-12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 0.5 0.5 0.1 0.1", "line 2 is 'cat 0.5.*wanted a class and finite numbers"),
        ("0 nan 0.5 0.1 0.1", "line 2 is '0 nan"),
        ("7 0.5 0.5 0.1 0.1", r"line 2: there is no class 7; .*\[0, 1\]"),
        ("0.5 0.5 0.5 0.1 0.1", "line 2: there is no class 0.5"),
        ("0 0.5 0.5", "line 2 has 2 numbers behind the class"),
        ("0 0.5 0.5 0.1 0.1 0.9", "line 2 has 5 numbers behind the class"),
        ("0 50 40 20 10", "line 2 has numbers from 10 to 50; .*Are they pixels?"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=rf"label file '.*a\.txt', {message}"):
        annotations(tmp_path, f"0 0.5 0.5 0.1 0.1\n{line}")


def test_keypoints_of_another_number_are_named(tmp_path):
    with pytest.raises(ValueError, match="line 1 has 7 numbers .* 2 keypoints of 3 .* are 10"):
        annotations(tmp_path, "0 0.5 0.5 0.1 0.1 0.5 0.5 2", {"kpt_shape": [2, 3]})


# Files


def test_images_without_label_file_show_nothing_and_are_counted(tmp_path, caplog):
    file = write(tmp_path, {"a": "0 0.5 0.5 0.1 0.1", "b": None})
    with caplog.at_level(logging.WARNING):
        _, record = load_yolo(file, "train")
    assert record["annotations"] == []
    assert "1 of 2 images have no label file" in caplog.text
    assert "b.txt" in caplog.text


def test_labels_in_another_place_are_not_taken_for_empty_images(tmp_path):
    file = write(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"})
    (tmp_path / "labels").rename(tmp_path / "annotations")
    with pytest.raises(FileNotFoundError, match=r"none of the 1 images .*labels/train/a\.txt'"):
        load_yolo(file, "train")


def test_only_the_last_folder_named_images_is_exchanged(tmp_path):
    root = tmp_path / "images" / "mine"
    assert len(load_yolo(write(root, {"a": "0 0.5 0.5 0.1 0.1"}), "train")[0]["annotations"]) == 1


def test_labels_beside_the_images_are_found(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "data.yaml").write_text("train: .\nnames: [cat]")
    assert len(load_yolo(tmp_path / "data.yaml", "train")[0]["annotations"]) == 1


def test_the_size_is_that_of_the_upright_image(tmp_path):
    file = write(tmp_path, {"a": "0 0.5 0.5 1 1"})
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images/train/a.png").unlink()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/train/a.jpg", exif=exif)
    (record,) = load_yolo(file, "train")
    assert (record["height"], record["width"]) == (WIDTH, HEIGHT)
    assert record["annotations"][0]["bbox"] == [0, 0, HEIGHT, WIDTH]


def test_a_split_may_be_a_list_of_files_or_several_folders(tmp_path):
    write(tmp_path, {"a": "", "b": ""})
    write(tmp_path, {"c": ""}, split="more")
    (tmp_path / "list.txt").write_text("./images/train/b.png\n\n")
    file = tmp_path / "data.yaml"
    file.write_text("names: [cat]\nval: list.txt\ntrain: [images/train, images/more]\n")
    assert [r["file_name"][-5:] for r in load_yolo(file, "val")] == ["b.png"]
    assert sorted(r["file_name"][-5:] for r in load_yolo(file, "train")) == [
        "a.png",
        "b.png",
        "c.png",
    ]


@pytest.mark.parametrize("path", [{}, {"path": "."}, {"path": "/of/another/machine"}])
@pytest.mark.parametrize("train", ["images/train", "../images/train"])
def test_folders_are_found_however_exports_write_them(tmp_path, path, train):
    file = write(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"}, {**path, "train": train})
    assert len(load_yolo(file, "train")) == 1


# The description


def test_class_numbers_may_have_gaps(tmp_path):
    file = write(tmp_path, {"a": "8 0.5 0.5 0.1 0.1"}, {"names": {8: "cup", 3: "pen"}})
    metadata = yolo_metadata(read_yolo_description(file))
    assert metadata["thing_classes"] == ["pen", "cup"]
    assert metadata["thing_dataset_id_to_contiguous_id"] == {3: 0, 8: 1}
    assert load_yolo(file, "train")[0]["annotations"][0]["category_id"] == 1


def test_names_that_yaml_takes_for_other_things_stay_text(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images\nnames: [no, 1e3, 2024-01-01, null]")
    names = read_yolo_description(tmp_path / "data.yaml").names
    assert names == {0: "no", 1: "1e3", 2: "2024-01-01", 3: "null"}


def test_mirrored_keypoints_become_pairs_of_names(tmp_path):
    shape = {"kpt_shape": [3, 3], "flip_idx": [0, 2, 1]}
    metadata = yolo_metadata(read_yolo_description(write(tmp_path, {}, shape)))
    assert metadata["keypoint_names"] == ["keypoint_0", "keypoint_1", "keypoint_2"]
    assert metadata["keypoint_flip_map"] == [("keypoint_1", "keypoint_2")]
    named = shape | {"kpt_names": {0: ["nose", "left", "right"]}}
    metadata = yolo_metadata(read_yolo_description(write(tmp_path, {}, named)))
    assert metadata["keypoint_flip_map"] == [("left", "right")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images", "has no 'names'"),
        ("- cat", "has no 'names'"),
        ("names: cat\ntrain: x", "has 'names' 'cat'; wanted a list"),
        ("names: {a: cat}\ntrain: x", "has 'a' in 'names'; wanted a whole number"),
        ("names: [cat]", r"has none of \['train', 'val', 'test'\]"),
        ("names: [", "is not valid YAML"),
        ("names: [cat]\ntrain: x\nkpt_shape: [2, 4]", r"has kpt_shape \[2, 4\]"),
        ("names: [cat]\ntrain: x\nkpt_shape: [2, 3]\nflip_idx: [0, 2]", r"has flip_idx \[0, 2\]"),
        (
            "names: [cat]\ntrain: x\nkpt_shape: [2, 3]\nkpt_names: [a, a]",
            "has kpt_names .*2 different",
        ),
        (
            "names: [cat]\ntrain: x\nkpt_shape: [2, 3]\nkpt_names: [{0: [l, r]}, r]",
            "has kpt_names .*2 different",
        ),
        (
            "names: [cat]\ntrain: x\nkpt_shape: [2, 3]\nkpt_names: lr",
            "has kpt_names 'lr'; wanted 2 different texts",
        ),
    ],
)
def test_a_description_that_lacks_something_is_named(tmp_path, text, message):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"data\.yaml' {message}"):
        read_yolo_description(tmp_path / "data.yaml")


def test_absent_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml' does not exist"):
        read_yolo_description(tmp_path / "none.yaml")
    file = write(tmp_path, {"a": ""})
    with pytest.raises(ValueError, match=r"describes no split 'val'; it has \['train'\]"):
        load_yolo(file, "val")
    (tmp_path / "images/train/a.png").unlink()
    with pytest.raises(FileNotFoundError, match="there is no image in .*images/train"):
        load_yolo(file, "train")
    file.write_text("names: [cat]\ntrain: nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere', where images are said to be"):
        load_yolo(file, "train")


def test_a_registered_dataset_has_its_metadata_before_it_is_read(tmp_path):
    register_yolo("pets", write(tmp_path, {"a": "1 0.5 0.5 0.1 0.1"}), "train", keepsake=1)
    assert MetadataCatalog.get("pets").thing_classes == ["cat", "dog"]
    assert MetadataCatalog.get("pets").keepsake == 1
    assert DatasetCatalog.get("pets")[0]["annotations"][0]["category_id"] == 1


# Real files


def place_real(shared_data, root, labels):
    """The real photographs and labels in YOLO's layout."""
    source = shared_data / "coco_panoptic"
    for split in ("train2017", "val2017"):
        for folder in ("images", "labels"):
            (root / folder).mkdir(exist_ok=True)
        (root / "images" / split).symlink_to(source / split)
        (root / "labels" / split).symlink_to(source / labels / split)
    file = root / "data.yaml"
    file.write_text((source / f"{labels}_config.yaml").read_text())
    return file


def test_real_boxes_agree_with_coco_s_segments(shared_data, tmp_path):
    file = place_real(shared_data, tmp_path, "yolo_object_detection")
    train, val = load_yolo(file, "train"), load_yolo(file, "val")
    assert (len(train), len(val)) == (25, 24)
    classes = yolo_metadata(read_yolo_description(file))["thing_classes"]
    assert len(classes) == 80
    boxes = np.array([a["bbox"] for r in train + val for a in r["annotations"]])
    assert (boxes[:, 2:] > 0).all()


def test_real_polygons_are_read_with_class_numbers_that_have_gaps(shared_data, tmp_path):
    file = place_real(shared_data, tmp_path, "yolo_instance_segmentation")
    records = load_yolo(file, "train") + load_yolo(file, "val")
    metadata = yolo_metadata(read_yolo_description(file))
    assert metadata["thing_dataset_id_to_contiguous_id"][90] == 79
    found = [a for r in records for a in r["annotations"]]
    lines = sum(
        len(path.read_text().splitlines())
        for path in (shared_data / "coco_panoptic/yolo_instance_segmentation").rglob("*.txt")
    )
    assert len(found) == lines
    assert all("segmentation" in annotation for annotation in found)
