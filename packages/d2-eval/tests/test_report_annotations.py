"""Sheets and pages of what is annotated in a dataset."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from d2_data import MetadataCatalog
from d2_data.datasets import load_coco_json
from d2_eval.report import annotation_page, annotation_sheet
from d2_structures import BoxMode

METADATA = SimpleNamespace(thing_classes=["cat", "<dog>"])


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "grey picture.png"
    Image.fromarray(np.full((80, 100, 3), 128, dtype=np.uint8)).save(path)
    box = {"bbox": [10, 10, 50, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    return {
        "file_name": str(path),
        "image_id": 1,
        "height": 80,
        "width": 100,
        "annotations": [box, {**box, "category_id": 1, "segmentation": [[10, 10, 50, 10, 50, 50]]}],
    }


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def pictures(page):
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).astype(int) for one in found]


def test_sheet_holds_every_picture_with_its_objects(record, tmp_path):
    path = annotation_sheet(tmp_path / "out" / "sheet.png", [record] * 5, METADATA, columns=2)
    sheet = pixels(path)
    assert path == tmp_path / "out" / "sheet.png"
    assert sheet.shape[1] == 2 * 20 + 2 * 360 + 14
    assert sheet.shape[0] > 3 * 288
    grey = (np.abs(sheet - 128).max(axis=2) <= 1).sum()
    assert grey > 5 * 0.5 * 360 * 288
    colourful = (sheet.max(axis=2) - sheet.min(axis=2) > 40).sum()
    assert colourful > 5 * 500


@pytest.mark.parametrize("shape", [(80, 100), (200, 50), (3, 90)])
def test_pictures_of_any_shape_have_the_size_asked_for(record, tmp_path, shape):
    Image.new("RGB", shape[::-1]).save(record["file_name"])
    record.update(height=shape[0], width=shape[1], annotations=[])
    page = annotation_page(tmp_path / "p.html", [record], tile_size=64).read_text()
    (picture,) = pictures(page)
    assert max(picture.shape[:2]) == 64
    assert abs(picture.shape[0] * shape[1] - picture.shape[1] * shape[0]) <= max(shape)


def test_page_names_pictures_classes_and_counts(record, tmp_path):
    page = annotation_page(tmp_path / "p.html", [record] * 3, METADATA, title="a <set>").read_text()
    assert "a &lt;set&gt;" in page
    assert "3 images, 6 objects" in page
    assert "cat 3</button>" in page
    assert "&lt;dog&gt; 3</button>" in page
    assert "<dog>" not in page
    assert page.count("grey picture.png") == 3
    assert page.count('data-classes="0 1"') == 3
    assert len(pictures(page)) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file_name": "/none/gone.png"}, "does not exist"),
        ({"annotations": [{"bbox": ["1"] * 4, "bbox_mode": 0, "category_id": 0}]}, "has 'bbox'"),
    ],
)
def test_what_cannot_be_shown_is_a_field_that_is_not_the_picture(record, tmp_path, change, said):
    good, bad = record, {**record, **change}
    page = annotation_page(tmp_path / "p.html", [good, bad], METADATA).read_text()
    shown, field = pictures(page)
    assert np.abs(shown - 128).min() <= 3
    assert np.median(field) > 220
    assert field.min() < 200  # text
    annotation_sheet(tmp_path / "s.png", [good, bad], METADATA)


def test_semantic_annotations_are_shown(record, tmp_path):
    labels = np.zeros((80, 100), np.uint8)
    labels[:, :50] = 1
    Image.fromarray(labels).save(tmp_path / "labels.png")
    del record["annotations"]
    record["sem_seg_file_name"] = str(tmp_path / "labels.png")
    metadata = SimpleNamespace(
        stuff_classes=["sky", "sea"], stuff_colors=[(0, 0, 255), (255, 0, 0)]
    )
    (picture,) = pictures(annotation_page(tmp_path / "p.html", [record], metadata).read_text())
    left, right = picture[:, :50].mean(axis=(0, 1)), picture[:, -50:].mean(axis=(0, 1))
    assert left[0] > left[2] + 30
    assert right[2] > right[0] + 30


def test_nothing_to_draw_and_sizes_that_are_none_are_errors(record, tmp_path):
    for write in (annotation_sheet, annotation_page):
        with pytest.raises(ValueError, match="no pictures"):
            write(tmp_path / "x", [])
    with pytest.raises(ValueError, match="columns is at least 1"):
        annotation_sheet(tmp_path / "x", [record], columns=0)


def test_real_annotations_are_drawn(shared_data, tmp_path):
    folder = shared_data / "data" / "coco54"
    records = load_coco_json(folder / "instances_coco54.json", folder / "images", "report_coco54")
    metadata = MetadataCatalog.get("report_coco54")
    page = annotation_page(tmp_path / "p.html", records[:6], metadata).read_text()
    MetadataCatalog.remove("report_coco54")
    assert "motorcycle" in page
    assert len(pictures(page)) == 6
