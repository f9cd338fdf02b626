"""Readers given files of which one entry is not what it should be.

Each either understands the file or says what is wrong with it, by name: an error that speaks of
the reader's own workings helps nobody.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import Metadata, MetadataCatalog
from d2_data.datasets import (
    load_cityscapes_instances,
    load_coco_panoptic_json,
    load_lvis_json,
    load_voc_instances,
    load_yolo,
)
from d2_data.preparation import prepare_cocofied_lvis, prepare_panoptic_fpn_semantics

JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7.5,
    float("nan"),
    10**30,
    "",
    "text",
    "../..",
    [],
    [[]],
    [None],
    {},
    {"id": None},
)

quiet = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every entry of nested dicts and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        yield (*path, key)
        if isinstance(entry, dict | list):
            yield from places(entry, (*path, key))


@st.composite
def damaged(draw: Callable[..., Any], content: Any) -> Any:
    """A copy of which one entry is missing or something else."""
    changed = copy.deepcopy(content)
    *way, last = draw(st.sampled_from(list(places(content))))
    parent = changed
    for key in way:
        parent = parent[key]
    junk = draw(st.sampled_from(JUNK) | st.just("remove"))
    if junk == "remove":
        del parent[last]
    else:
        parent[last] = copy.deepcopy(junk)
    return changed


def understood_or_named(read: Callable[[], Any], name: str) -> Any:
    """What ``read`` returns, or None if it raises an error that names the file."""
    try:
        return read()
    except (ValueError, KeyError, FileNotFoundError) as error:
        text = " ".join([str(error), *getattr(error, "__notes__", ())])
        assert name in text
        assert len(text) > len(name) + 20
        return None


SEGMENT = {"id": 3, "category_id": 2, "iscrowd": 0, "area": 4, "bbox": [0, 0, 2, 2]}
PANOPTIC = {
    "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}],
    "annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": [SEGMENT]}],
    "categories": [
        {"id": 2, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
        {"id": 9, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
    ],
}
LVIS = {
    "images": [
        {
            "id": 1,
            "height": 4,
            "width": 6,
            "coco_url": "http://images.cocodataset.org/val2017/a.jpg",
            "neg_category_ids": [2],
            "not_exhaustive_category_ids": [],
        }
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [0, 0, 2, 2],
            "area": 4,
            "segmentation": [[0, 0, 2, 0, 2, 2]],
        }
    ],
    "categories": [
        {"id": 1, "name": "a", "synset": "person.n.01", "image_count": 1},
        {"id": 2, "name": "b", "synset": "kite.n.03", "image_count": 2},
    ],
}
CITYSCAPES = {
    "imgHeight": 8,
    "imgWidth": 8,
    "objects": [
        {"label": "car", "polygon": [[1, 1], [4, 1], [4, 5]]},
        {"label": "sky", "polygon": [[0, 0], [7, 0], [7, 2]], "deleted": 0},
    ],
}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@quiet
@given(damaged(PANOPTIC))
def test_a_damaged_panoptic_file_is_understood_or_named(tmp_path, content):
    file = write(tmp_path / "panoptic.json", content)
    records = understood_or_named(
        lambda: load_coco_panoptic_json(file, "images", "png", Metadata(name="mine")),
        "panoptic.json",
    )
    for record in records or ():
        for segment in record["segments_info"]:
            assert segment["category_id"] in range(2)
            assert isinstance(segment["isthing"], bool)


@quiet
@given(damaged(PANOPTIC))
def test_semantics_of_a_damaged_panoptic_file_are_made_or_it_is_named(tmp_path, content):
    Image.new("RGB", (6, 4), (3, 0, 0)).save(tmp_path / "a.png")
    file = write(tmp_path / "panoptic.json", content)
    understood_or_named(
        lambda: prepare_panoptic_fpn_semantics(
            file, tmp_path, tmp_path / "stuff", overwrite=True, num_workers=1
        ),
        "panoptic.json",
    )


@quiet
@given(damaged(LVIS), st.sampled_from([None, "mine", "lvis_v1_mine"]))
def test_a_damaged_lvis_file_is_understood_or_named(tmp_path, content, name):
    file = write(tmp_path / "lvis.json", content)
    MetadataCatalog.data.pop(name, None)  # each file may declare other classes
    records = understood_or_named(lambda: load_lvis_json(file, tmp_path, name), "lvis.json")
    for record in records or ():
        assert isinstance(record["file_name"], str)
        assert all(isinstance(a["category_id"], int) for a in record["annotations"])


@quiet
@given(damaged(LVIS))
def test_a_damaged_lvis_file_is_cocofied_or_named(tmp_path, content):
    file = write(tmp_path / "lvis.json", content)
    understood_or_named(lambda: prepare_cocofied_lvis(file, tmp_path / "out.json"), "lvis.json")


@quiet
@given(damaged(CITYSCAPES))
def test_damaged_polygons_of_cityscapes_are_understood_or_named(tmp_path, content):
    write(tmp_path / "gtFine" / "ulm" / "ulm_0_0_gtFine_polygons.json", content)
    image = tmp_path / "leftImg8bit" / "ulm" / "ulm_0_0_leftImg8bit.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.touch()
    understood_or_named(
        lambda: load_cityscapes_instances(tmp_path / "leftImg8bit", tmp_path / "gtFine"),
        "polygons.json",
    )


XML = (
    "<annotation><filename>a.jpg</filename><size><width>60</width><height>40</height></size>"
    "<object><name>dog</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


@st.composite
def cut_and_filled(draw: Callable[..., Any], text: str) -> str:
    """A text of which a stretch is missing or something else."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    filling = draw(st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(["<", "-1"]))
    return text[:start] + filling + text[end:]


@quiet
@given(cut_and_filled(XML))
def test_a_damaged_voc_annotation_is_understood_or_named(tmp_path, text):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    (tmp_path / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    understood_or_named(lambda: load_voc_instances(tmp_path, "train", ["dog"]), "a.xml")


@pytest.fixture
def yolo(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    (tmp_path / "data.yaml").write_text("train: .\nnames: [cat, dog]")
    return tmp_path


@quiet
@given(cut_and_filled("0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"))
def test_damaged_lines_of_yolo_are_understood_or_named(yolo, text):
    (yolo / "a.txt").write_text(text, encoding="utf-8")
    records = understood_or_named(lambda: load_yolo(yolo / "data.yaml", "train"), "a.txt")
    for record in records or ():
        for annotation in record["annotations"]:
            x, y, width, height = annotation["bbox"]
            assert -60 < x < 61
            assert -40 < y < 41
            assert width <= 61
            assert height <= 41


DESCRIPTION = (
    "path: .\ntrain: .\nval: [., .]\nnames:\n  0: cat\n  1: dog\n"
    "kpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names:\n  0: [l, r]\n"
)


@quiet
@given(cut_and_filled(DESCRIPTION))
def test_a_damaged_description_of_yolo_is_understood_or_named(yolo, text):
    (yolo / "a.txt").write_text("0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.4 0.4 1")
    (yolo / "data.yaml").write_text(text, encoding="utf-8")
    understood_or_named(lambda: load_yolo(yolo / "data.yaml", "train"), str(yolo))
