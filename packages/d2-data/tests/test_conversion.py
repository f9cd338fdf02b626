import errno
import json
import logging
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from d2_data import Metadata
from d2_data.conversion import convert, read_splits
from d2_data.conversion.splits import Split
from d2_data.conversion.yolo_target import yolo_task
from d2_data.datasets import load_coco_json, load_yolo
from d2_data.formats import CocoFile
from d2_ops.host import polygons_to_bitmask, rle_decode, rle_encode
from d2_structures import BoxMode

WIDTH, HEIGHT = 100, 80
TRIANGLE = [10.0, 10.0, 30.0, 10.0, 10.0, 40.0]


def save_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def place_coco(root, annotations, split="train", names=("a.png",), categories=None, **more):
    """Write a COCO folder in which all annotations are of the first image."""
    file = CocoFile(categories or [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}])
    for name in names:
        file.add_image(name, (HEIGHT, WIDTH))
        save_image(root / split / name)
    for category, entries in annotations:
        file.add_annotation(1, category, {"iscrowd": 0, "area": 1} | entries)
    file.write(root / "annotations" / f"instances_{split}.json")
    return root


def read(folder, kind, **options):
    (split,) = read_splits(folder, kind, **options)
    return split


def single(folder, kind, **options):
    """The annotations of the only image."""
    split = read(folder, kind, **options)
    return split.records[0]["annotations"]


# Every format into every other

CONVERSIONS = [(a, b) for a in ("coco", "voc", "yolo") for b in ("coco", "voc", "yolo")]


def boxes_of(folder, kind):
    """Every object's image, class and box, format aside."""
    found = Counter()
    for split in read_splits(folder, kind):
        for record in split.records:
            for annotation in record["annotations"]:
                box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
                name = Path(record["file_name"]).stem
                place = tuple(round(float(value), 3) for value in box)
                found[split.name, name, split.classes[annotation["category_id"]], place] += 1
    return found


@pytest.fixture
def small(tmp_path):
    """Two splits, three images, images in a subfolder, an image without objects."""
    root = tmp_path / "coco"
    place_coco(
        root,
        [(1, {"bbox": [10, 20, 30.5, 40]}), (7, {"bbox": [0, 0, 100, 80]})],
        names=("a.png", "sub/b.png"),
    )
    place_coco(root, [(7, {"bbox": [1.25, 2, 3, 4]})], split="val", names=("c.png",))
    return root


@pytest.mark.parametrize(("first", "second"), CONVERSIONS)
def test_boxes_and_classes_survive_two_conversions(small, tmp_path, first, second):
    convert(small, "coco", tmp_path / "one", first)
    convert(tmp_path / "one", first, tmp_path / "two", second)
    assert boxes_of(tmp_path / "two", second) == boxes_of(small, "coco")
    for split in read_splits(tmp_path / "two", second):
        for record in split.records:
            with Image.open(record["file_name"]) as image:
                assert image.size == (record["width"], record["height"])


eighth = st.integers(0, 8 * HEIGHT).map(lambda value: value / 8)
side = st.integers(1, 200).map(lambda value: value / 8)
boxes = st.tuples(eighth, eighth, side, side).map(list)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([1, 7]), boxes), min_size=1, max_size=4))
@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_boxes_within_the_image_come_back(tmp_path_factory, kind, objects):
    inside = [
        (c, {"bbox": [x, y, min(w, WIDTH - x), min(h, HEIGHT - y)]})
        for c, (x, y, w, h) in objects
        if y < HEIGHT
    ]
    root = tmp_path_factory.mktemp("round")
    place_coco(root / "coco", inside)
    convert(root / "coco", "coco", root / kind, kind, placement="link")
    convert(root / kind, kind, root / "again", "coco")
    assert boxes_of(root / "again", "coco") == boxes_of(root / "coco", "coco")


# COCO


def test_a_coco_folder_has_annotations_beside_the_images(small, tmp_path):
    convert(small, "coco", tmp_path / "out", "coco")
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png", "sub/b.png"]
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]
    assert (tmp_path / "out/train/sub/b.png").samefile(small / "train/sub/b.png")


def test_masks_keypoints_crowds_and_rotated_boxes_stay_what_they_are(tmp_path):
    mask = rle_encode(np.ones((HEIGHT, WIDTH), bool))
    rle = {"size": mask["size"], "counts": mask["counts"].decode()}
    category = {"id": 1, "name": "cat", "keypoints": ["l", "r"], "skeleton": [[1, 2]]}
    place_coco(
        tmp_path / "coco",
        [
            (1, {"bbox": [1, 2, 3, 4], "segmentation": [TRIANGLE]}),
            (1, {"bbox": [1, 2, 3, 4], "segmentation": rle, "iscrowd": 1}),
            (1, {"bbox": [40, 30, 20, 10, 30]}),
            (1, {"bbox": [1, 2, 3, 4], "keypoints": [3, 4, 2, 0, 0, 0]}),
        ],
        categories=[category],
    )
    (converted,) = convert(tmp_path / "coco", "coco", tmp_path / "out", "coco")
    assert converted.changes == {}
    assert single(tmp_path / "out", "coco") == single(tmp_path / "coco", "coco")


@pytest.mark.parametrize(
    ("split", "folder"), [("train", "train"), ("val", "valid"), ("test", "test")]
)
def test_exports_with_annotations_among_the_images_are_read(tmp_path, split, folder):
    place_coco(tmp_path, [(1, {"bbox": [1, 2, 3, 4]})], split=folder)
    (tmp_path / "annotations" / f"instances_{folder}.json").rename(
        tmp_path / folder / "_annotations.coco.json"
    )
    (tmp_path / "annotations").rmdir()
    assert read(tmp_path, "coco").name == split


def test_an_annotation_file_and_its_images_may_lie_apart(tmp_path):
    place_coco(tmp_path, [(1, {"bbox": [1, 2, 3, 4]})])
    file = tmp_path / "annotations" / "instances_train.json"
    split = read(file, "coco", images=tmp_path / "train", splits=["mine"])
    assert split.name == "mine"
    assert Path(split.records[0]["file_name"]).is_file()


@pytest.mark.parametrize(
    ("name", "split"), [("instances_val2017", "val"), ("Test", "test"), ("labels", "train")]
)
def test_the_name_of_a_file_says_which_split_it_is(tmp_path, name, split):
    place_coco(tmp_path, [])
    file = tmp_path / "train" / f"{name}.json"
    (tmp_path / "annotations" / "instances_train.json").rename(file)
    assert read(file, "coco").name == split


# YOLO


def test_a_yolo_folder_can_be_moved(small, tmp_path):
    convert(small, "coco", tmp_path / "out", "yolo", placement="copy")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert len(load_yolo(tmp_path / "moved" / "data.yaml", "train")) == 2
    text = (tmp_path / "moved" / "data.yaml").read_text()
    assert text == ("train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    assert (tmp_path / "moved/labels/train/sub/b.txt").read_text() == ""


def test_lines_of_a_label_file_are_fractions(tmp_path):
    place_coco(tmp_path / "coco", [(7, {"bbox": [10, 20, 30, 40]})])
    convert(tmp_path / "coco", "coco", tmp_path / "out", "yolo")
    assert (tmp_path / "out/labels/train/a.txt").read_text() == "1 0.25 0.5 0.3 0.5\n"


def test_polygons_come_back_from_yolo(tmp_path):
    place_coco(tmp_path / "coco", [(1, {"bbox": [10, 10, 20, 30], "segmentation": [TRIANGLE]})])
    (converted,) = convert(tmp_path / "coco", "coco", tmp_path / "out", "yolo")
    assert converted.changes == {}
    (annotation,) = single(tmp_path / "out", "yolo")
    assert annotation["segmentation"] == [pytest.approx(TRIANGLE)]


@settings(deadline=None, max_examples=30)
@given(arrays(bool, (HEIGHT // 8, WIDTH // 10), elements=st.booleans()))
def test_a_mask_in_pieces_becomes_one_outline_of_the_same_pixels(tmp_path_factory, blocks):
    root = tmp_path_factory.mktemp("masks")
    blocks[0, 0] = True
    mask = np.kron(blocks, np.ones((8, 10), bool))
    rle = rle_encode(mask)
    entries = {
        "bbox": [0, 0, WIDTH, HEIGHT],
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }
    place_coco(root / "coco", [(1, entries)])
    convert(root / "coco", "coco", root / "out", "yolo")
    (annotation,) = single(root / "out", "yolo")
    (polygon,) = annotation["segmentation"]
    # Corners of pixels, which rounding must not move over an edge.
    polygon = np.round(np.array(polygon), 6)
    np.testing.assert_array_equal(polygons_to_bitmask([polygon], HEIGHT, WIDTH), mask)


@settings(deadline=None, max_examples=40)
@given(st.floats(20, 80), st.floats(20, 60), st.floats(2, 15), st.floats(2, 15), st.floats(-89, 89))
def test_rotated_boxes_come_back_from_yolo(tmp_path_factory, x, y, width, height, angle):
    root = tmp_path_factory.mktemp("rotated")
    box = [round(value, 3) for value in (x, y, width, height, angle)]
    place_coco(root / "coco", [(1, {"bbox": box})])
    (converted,) = convert(root / "coco", "coco", root / "out", "yolo")
    assert converted.changes == {}
    (annotation,) = single(root / "out", "yolo", rotated=True)
    read_box = annotation["bbox"]
    if abs(math.cos(math.radians(read_box[4] - box[4]))) < 0.5:
        read_box = [*read_box[:2], read_box[3], read_box[2], read_box[4] + 90]
    assert read_box[:4] == pytest.approx(box[:4], abs=1e-4)
    assert abs(math.sin(math.radians(read_box[4] - box[4]))) < 1e-4


def test_keypoints_come_back_from_yolo_with_names_and_mirrored_pairs(tmp_path):
    category = {"id": 1, "name": "cat", "keypoints": ["nose", "left_ear", "right_ear"]}
    entries = {"bbox": [1, 2, 30, 40], "keypoints": [3, 4, 2, 9, 9, 1, 0, 0, 0]}
    place_coco(
        tmp_path / "coco",
        [(1, entries), (1, {"bbox": [1, 2, 3, 4]})],
        categories=[category],
    )
    convert(tmp_path / "coco", "coco", tmp_path / "out", "yolo")
    split = read(tmp_path / "out", "yolo")
    first, second = split.records[0]["annotations"]
    assert first["keypoints"] == pytest.approx([3.5, 4.5, 2, 9.5, 9.5, 1, 0, 0, 0])
    assert second["keypoints"] == [0] * 9
    assert split.metadata.keypoint_names == ["nose", "left_ear", "right_ear"]
    assert split.metadata.keypoint_flip_map == [("left_ear", "right_ear")]


@pytest.mark.parametrize(
    ("entries", "task"),
    [
        ({}, "detect"),
        ({"segmentation": []}, "detect"),
        ({"segmentation": [TRIANGLE]}, "segment"),
        ({"segmentation": [TRIANGLE], "keypoints": [1, 1, 2]}, "pose"),
        ({"bbox_mode": BoxMode.XYWHA_ABS, "keypoints": [1, 1, 2]}, "obb"),
    ],
)
def test_the_task_is_what_the_annotations_are_good_for(entries, task):
    annotations = [{"bbox_mode": BoxMode.XYWH_ABS}, {"bbox_mode": BoxMode.XYWH_ABS} | entries]
    split = Split("train", [{"annotations": annotations}], Metadata(name="x"))
    assert yolo_task([split]) == task


def test_what_yolo_cannot_hold_is_counted(tmp_path):
    rle = rle_encode(np.eye(HEIGHT, WIDTH, dtype=bool))
    polygons = [TRIANGLE, [v + 40 for v in TRIANGLE]]
    place_coco(
        tmp_path / "coco",
        [
            (1, {"bbox": [1, 2, 3, 4], "iscrowd": 1}),
            (1, {"bbox": [-10, 2, 30, 4]}),
            (1, {"bbox": [200, 2, 30, 4]}),
            (1, {"bbox": [1, 2, 3, 4], "segmentation": polygons}),
            (1, {"bbox": [0, 0, 80, 80], "segmentation": rle | {"counts": rle["counts"].decode()}}),
            (1, {"bbox": [5, 5, 5, 5]}),
        ],
    )
    (converted,) = convert(tmp_path / "coco", "coco", tmp_path / "out", "yolo")
    assert converted.annotations == 6
    assert converted.changes == {
        "crowds left out": 1,
        "boxes without an inside in their image left out": 1,
        "boxes cut at the image's edge": 1,
        "outlines of several parts joined by lines": 2,
        "masks written as outlines of their pixels": 1,
        "boxes written as outlines": 2,
    }
    assert len(single(tmp_path / "out", "yolo")) == 4


def test_a_task_leaves_out_what_it_does_not_need_and_says_so(tmp_path):
    place_coco(
        tmp_path / "coco",
        [
            (1, {"bbox": [10, 10, 20, 30], "segmentation": [TRIANGLE]}),
            (1, {"bbox": [40, 30, 20, 10, 30]}),
        ],
    )
    (converted,) = convert(tmp_path / "coco", "coco", tmp_path / "out", "yolo", task="detect")
    assert converted.changes == {"segmentation left out": 1, "rotated boxes made upright": 1}
    assert all("segmentation" not in a for a in single(tmp_path / "out", "yolo"))


def test_keypoints_without_names_are_refused(register, tmp_path):
    save_image(tmp_path / "a.png")
    instance = {
        "bbox": [1, 2, 3, 4],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 0,
        "keypoints": [1, 1, 2],
    }
    record = {"file_name": str(tmp_path / "a.png"), "annotations": [instance]}
    register("nameless", [record], thing_classes=["cat"])
    with pytest.raises(ValueError, match="'nameless' has no 'keypoint_names'"):
        convert("nameless", "dataset", tmp_path / "out", "yolo")
    register("misnamed", [record], thing_classes=["cat"], keypoint_names=["a", "b"])
    with pytest.raises(ValueError, match="has 1 keypoints, the metadata names 2"):
        convert("misnamed", "dataset", tmp_path / "other", "yolo")


# Pascal VOC


def test_corners_of_voc_count_from_1_and_keep_fractions(tmp_path):
    place_coco(tmp_path / "coco", [(7, {"bbox": [10, 20.5, 30, 40]})])
    convert(tmp_path / "coco", "coco", tmp_path / "out", "voc")
    text = (tmp_path / "out/Annotations/a.xml").read_text()
    for part in (
        "<filename>a.png</filename>",
        "<width>100</width>",
        "<name>dog</name>",
        "<xmin>11</xmin>",
        "<ymin>21.5</ymin>",
        "<xmax>40</xmax>",
        "<ymax>60.5</ymax>",
    ):
        assert part in text
    assert (tmp_path / "out/ImageSets/Main/train.txt").read_text() == "a\n"


def test_difficult_objects_stay_so(tmp_path, register):
    save_image(tmp_path / "a.png")
    instance = {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    record = {
        "file_name": str(tmp_path / "a.png"),
        "annotations": [instance | {"difficult": 1}, instance],
    }
    register("difficulties", [record], thing_classes=["cat & dog <3"])
    convert("difficulties", "dataset", tmp_path / "out", "voc")
    split = read(tmp_path / "out", "voc")
    assert split.classes == ["cat & dog <3"]
    assert [a.get("difficult") for a in split.records[0]["annotations"]] == [1, None]


def test_what_voc_cannot_hold_is_counted(tmp_path):
    place_coco(
        tmp_path / "coco",
        [
            (1, {"bbox": [1, 2, 3, 4], "iscrowd": 1}),
            (1, {"bbox": [1, 2, 3, 4], "segmentation": [TRIANGLE]}),
            (1, {"bbox": [40, 30, 20, 10, 90]}),
            (1, {"bbox": [1, 2, 3, 4], "keypoints": [1, 1, 2]}),
        ],
    )
    (converted,) = convert(tmp_path / "coco", "coco", tmp_path / "out", "voc")
    assert converted.changes == {
        "crowds left out": 1,
        "segmentation left out": 1,
        "keypoints left out": 1,
        "rotated boxes made upright": 1,
    }
    _, upright, _ = single(tmp_path / "out", "voc")
    assert upright["bbox"] == pytest.approx([35, 20, 45, 40])


def test_images_of_one_name_in_two_splits_do_not_fit_into_voc_s_one_folder(tmp_path):
    for split in ("train", "val"):
        place_coco(tmp_path / "coco", [], split=split)
    with pytest.raises(ValueError, match=r"'train' and 'val' both have an image 'a\.png'"):
        convert(tmp_path / "coco", "coco", tmp_path / "out", "voc")
    assert len(convert(tmp_path / "coco", "coco", tmp_path / "ok", "yolo")) == 2


def test_the_real_blood_cells_become_coco_and_yolo_and_come_back(shared_data, tmp_path, caplog):
    source = shared_data / "bccd" / "BCCD"
    copied = {"placement": "copy"}  # links to another file system would be refused
    with caplog.at_level(logging.ERROR):
        parts = convert(source, "voc", tmp_path / "coco", "coco", **copied)
        assert [(p.name, p.images) for p in parts] == [("train", 205), ("val", 87), ("test", 72)]
        assert sum(part.annotations for part in parts) == 4155 + 372 + 361
        convert(tmp_path / "coco", "coco", tmp_path / "yolo", "yolo", **copied)
        convert(tmp_path / "yolo", "yolo", tmp_path / "voc", "voc", **copied)
        assert boxes_of(tmp_path / "voc", "voc") == boxes_of(source, "voc")


# Registered datasets


def test_a_registered_dataset_is_one_split_with_the_name_that_is_asked_for(register, tmp_path):
    save_image(tmp_path / "photos" / "a.png")
    instance = {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    record = {"file_name": str(tmp_path / "photos/a.png"), "annotations": [instance]}
    register("pets_val", [record], thing_classes=["cat"])
    (default,) = convert("pets_val", "dataset", tmp_path / "one", "coco")
    (named,) = convert("pets_val", "dataset", tmp_path / "two", "coco", splits=["mine"])
    assert (default.name, named.name) == ("val", "mine")
    content = json.loads((tmp_path / "two/annotations/instances_mine.json").read_text())
    assert content["images"][0]["file_name"] == "a.png"
    assert content["images"][0]["height"] == HEIGHT  # read from the image
    with pytest.raises(ValueError, match=r"one name is wanted, got \['a', 'b'\]"):
        read_splits("pets_val", "dataset", ["a", "b"])


def test_a_dataset_without_objects_is_refused(register, tmp_path):
    save_image(tmp_path / "a.png")
    register("scenery", [{"file_name": str(tmp_path / "a.png")}])
    with pytest.raises(ValueError, match="'scenery' has no 'thing_classes'"):
        convert("scenery", "dataset", tmp_path / "out", "yolo")


# Arguments and files


def test_images_are_linked_copied_or_left(small, tmp_path):
    for placement in ("link", "copy", "none"):
        convert(small, "coco", tmp_path / placement, "coco", placement=placement)
    linked, copied = (tmp_path / kind / "train" / "a.png" for kind in ("link", "copy"))
    assert linked.samefile(small / "train" / "a.png")
    assert copied.is_file()
    assert not copied.samefile(small / "train" / "a.png")
    assert not (tmp_path / "none" / "train").exists()


def test_linked_images_lie_in_the_image_root(small, tmp_path):
    convert(small, "coco", tmp_path / "out", "coco")
    file = tmp_path / "out" / "annotations" / "instances_train.json"
    assert load_coco_json(file, tmp_path / "out" / "train")[0]["file_name"].endswith("a.png")


def test_images_of_another_file_system_become_symbolic_links(small, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    convert(small, "coco", tmp_path / "out", "coco")
    assert (tmp_path / "out" / "train" / "a.png").is_symlink()
    file = tmp_path / "out" / "annotations" / "instances_train.json"
    with pytest.raises(ValueError, match="outside_root='links'"):
        load_coco_json(file, tmp_path / "out" / "train")
    assert load_coco_json(file, tmp_path / "out" / "train", outside_root="links")


def test_an_absent_image_is_named_unless_images_are_not_placed(small, tmp_path):
    (small / "train" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png' of split 'train' does not exist; plac"):
        convert(small, "coco", tmp_path / "out", "coco")
    convert(small, "coco", tmp_path / "bare", "coco", placement="none")


def test_a_folder_that_holds_something_is_left_alone(small, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "work.txt").touch()
    with pytest.raises(FileExistsError, match="full' is not an empty folder"):
        convert(small, "coco", tmp_path / "full", "yolo")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["work.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source_format": "xml"}, r"read from \['dataset', 'coco', 'voc', 'yolo'\], not 'xml'"),
        ({"target_format": "xml"}, r"target_format is one of \['coco', 'voc', 'yolo'\]"),
        ({"placement": "move"}, "placement is one of"),
        ({"task": "classify", "target_format": "yolo"}, "task is one of"),
        ({"task": "pose"}, "a task is chosen for 'yolo', the format is 'coco'"),
        ({"images": "photos"}, "images can be given only for a COCO annotation file"),
        ({"rotated": True}, "rotated is for YOLO's files"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(small, tmp_path, arguments, message):
    given_arguments = {"source_format": "coco", "target_format": "coco"} | arguments
    with pytest.raises(ValueError, match=message):
        convert(small, target=tmp_path / "out", **given_arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("coco", r"no COCO annotations of \['train', 'val', 'test'\]"),
        ("voc", r"none of \['train', 'val', 'test'\] in '.*ImageSets/Main'"),
        ("yolo", r"data\.yaml' does not exist"),
    ],
)
def test_a_folder_of_another_format_is_named_with_what_is_expected(tmp_path, kind, message):
    with pytest.raises(FileNotFoundError, match=message):
        read_splits(tmp_path, kind)


def test_splits_that_are_not_there_are_named(small):
    with pytest.raises(FileNotFoundError, match=r"no COCO annotations of \['test'\]"):
        read_splits(small, "coco", ["train", "test"])


def test_a_ring_keeps_its_hole_in_yolo(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:50, 10:60] = True
    mask[20:30, 30:40] = False
    rle = rle_encode(mask)
    entries = {"bbox": [10, 10, 50, 40], "segmentation": rle | {"counts": rle["counts"].decode()}}
    place_coco(tmp_path / "coco", [(1, entries)])
    convert(tmp_path / "coco", "coco", tmp_path / "out", "yolo")
    (annotation,) = single(tmp_path / "out", "yolo")
    polygon = np.round(np.array(annotation["segmentation"][0]), 6)
    np.testing.assert_array_equal(polygons_to_bitmask([polygon], HEIGHT, WIDTH), rle_decode(rle))
