from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2_data import MetadataCatalog
from d2_data.datasets import load_coco_json
from d2_eval.report import contact_sheet
from d2_eval.report.contact_sheet import _Sheet
from d2_eval.report.picture_pairs import Objects, PicturePair
from d2_structures import Boxes, BoxMode, Instances, RotatedBoxes


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "photograph.png"
    Image.fromarray(np.full((80, 100, 3), 128, dtype=np.uint8)).save(path)
    annotation = {
        "bbox": [10, 10, 50, 50],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]],
        "iscrowd": 0,
    }
    return {
        "file_name": str(path),
        "image_id": 1,
        "height": 80,
        "width": 100,
        "annotations": [annotation],
    }


METADATA = SimpleNamespace(thing_classes=["cat", "dog"])


def picture(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def is_coloured(pixels: np.ndarray) -> np.ndarray:
    """Where there is neither the grey of the photograph and of letters nor the white of paper."""
    return pixels.max(axis=-1) - pixels.min(axis=-1) > 30


def test_annotations_stand_left_and_predictions_right(record, detections, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    wide = detections((10, 10, 90, 50, 0.9, 0), masks=True)
    assert contact_sheet(path, [record], [wide], METADATA, tile_size=400) == path
    coloured = is_coloured(picture(path))
    middle = coloured.shape[1] // 2
    assert 1.8 < coloured[:, middle:].sum() / coloured[:, :middle].sum() < 2.2


def test_a_class_has_the_same_colour_on_both_sides_and_another_class_another(
    record, detections, tmp_path
):
    fills = {}
    for label in (0, 1):
        found = detections((10, 10, 50, 50, 0.9, label), masks=True)
        contact_sheet(tmp_path / "sheet.png", [record], [found], METADATA, tile_size=400)
        pixels = picture(tmp_path / "sheet.png")
        middle = pixels.shape[1] // 2
        sides = [side[is_coloured(side)] for side in (pixels[:, :middle], pixels[:, middle:])]
        fills[label] = [tuple(np.median(side, axis=0)) for side in sides]
    assert fills[0][0] == fills[0][1]
    assert fills[1][0] != fills[1][1]


def test_predictions_with_a_low_score_are_not_drawn(record, detections, tmp_path):
    low = detections((10, 10, 50, 50, 0.3, 1), masks=True)
    contact_sheet(tmp_path / "low.png", [record], [low], METADATA, score_threshold=0.5)
    contact_sheet(tmp_path / "none.png", [record], [detections(masks=True)], METADATA)
    contact_sheet(tmp_path / "all.png", [record], [low], METADATA, score_threshold=0.1)
    low_pixels, none_pixels = picture(tmp_path / "low.png"), picture(tmp_path / "none.png")
    np.testing.assert_array_equal(low_pixels, none_pixels)
    assert is_coloured(picture(tmp_path / "all.png")).sum() > is_coloured(none_pixels).sum()


def test_labels_leave_an_object_smaller_than_they_are_alone(record, detections, tmp_path):
    record |= {"annotations": []}
    found = detections((40, 40, 42, 42, 0.9, 0))
    contact_sheet(tmp_path / "small.png", [record], [found], METADATA, tile_size=400)
    contact_sheet(tmp_path / "large.png", [record], [found], METADATA, tile_size=4000)
    for name, is_labelled in (("small", False), ("large", True)):
        pixels = picture(tmp_path / f"{name}.png")
        above = pixels[: pixels.shape[0] - 60]  # the caption has a swatch
        box = np.argwhere(is_coloured(above))
        sides = np.ptp(box, axis=0) + 1
        assert (sides.max() > 1.2 * sides.min()) == is_labelled


def test_pairs_fill_rows(record, detections, tmp_path):
    found = detections((10, 10, 50, 50, 0.9, 1))
    contact_sheet(tmp_path / "one.png", [record], [found], tile_size=100, pairs_per_row=2)
    contact_sheet(tmp_path / "three.png", [record] * 3, [found] * 3, tile_size=100, pairs_per_row=2)
    one, three = picture(tmp_path / "one.png"), picture(tmp_path / "three.png")
    assert three.shape[1] > 1.8 * one.shape[1]
    assert three.shape[0] > 1.6 * one.shape[0]


@given(sizes=st.lists(st.tuples(st.integers(4, 300), st.integers(4, 300)), min_size=1, max_size=5))
def test_pictures_of_any_shape_fill_a_row_and_stay_inside(sizes):
    nothing = Objects([], [])
    images = [np.zeros((height, width, 3), np.uint8) for height, width in sizes]
    pairs = [PicturePair("x.png", image, nothing, nothing) for image in images]
    sheet = _Sheet(pairs, None, pairs_per_row=len(pairs), tile_size=100)
    (row,) = sheet._rows
    widths = [row.picture_width(pair) for pair in pairs]
    assert row.picture_height <= 100
    assert sum(widths) <= 100 * len(pairs) + len(pairs) / 2
    if row.picture_height < 100:
        assert sum(widths) >= 0.5 * 100 * len(pairs)


def test_annotations_without_masks_or_boxes_are_drawn_as_far_as_they_go(
    record, detections, tmp_path
):
    counts = []
    for annotation in ({}, {"keypoints": [20, 20, 2, 60, 60, 2]}, {"bbox": [5, 5, 60, 60]}):
        record |= {"annotations": [{"category_id": 0, "bbox_mode": BoxMode.XYXY_ABS, **annotation}]}
        contact_sheet(tmp_path / "s.png", [record], [detections()], tile_size=400)
        pixels = picture(tmp_path / "s.png")
        counts.append((np.abs(pixels - 128).sum(axis=2) > 60).sum())
    assert counts[0] < counts[1]
    assert counts[0] < counts[2]


def test_rotated_boxes_are_drawn(record, tmp_path):
    annotation = {"category_id": 0, "bbox": [50, 40, 40, 20, 30], "bbox_mode": BoxMode.XYWHA_ABS}
    record |= {"annotations": [annotation]}
    found = Instances(
        (80, 100),
        pred_boxes=RotatedBoxes(torch.tensor([[50.0, 40, 40, 20, 30]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([0]),
    )
    contact_sheet(tmp_path / "sheet.png", [record], [found], tile_size=400)
    coloured = is_coloured(picture(tmp_path / "sheet.png"))
    assert coloured[:, : coloured.shape[1] // 2].sum() > 300


def test_a_crowd_is_marked(record, detections, tmp_path):
    contact_sheet(tmp_path / "one.png", [record], [detections()], METADATA)
    record["annotations"][0]["iscrowd"] = 1
    contact_sheet(tmp_path / "crowd.png", [record], [detections()], METADATA)
    one, crowd = picture(tmp_path / "one.png"), picture(tmp_path / "crowd.png")
    assert not np.array_equal(one, crowd)


def test_photographs_of_coco_fill_a_sheet(shared_data, tmp_path):
    folder = shared_data / "data" / "coco54"
    records = load_coco_json(folder / "instances_coco54.json", folder / "images", "sheet")[:4]
    nothing = [
        Instances(
            (record["height"], record["width"]),
            pred_boxes=Boxes(torch.zeros(0, 4)),
            scores=torch.zeros(0),
            pred_classes=torch.zeros(0, dtype=torch.long),
        )
        for record in records
    ]
    metadata = MetadataCatalog.get("sheet")
    pixels = picture(contact_sheet(tmp_path / "sheet.png", records, nothing, metadata))
    assert pixels.shape[1] == 2 * (2 * 400 + 4) + 28 + 2 * 20


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet(tmp_path / "sheet.png", [], [])


def test_lengths_that_differ_are_an_error(record, tmp_path):
    with pytest.raises(ValueError, match="1 records but 0 predictions"):
        contact_sheet(tmp_path / "sheet.png", [record], [])


def test_a_prediction_of_another_size_is_an_error(record, detections, tmp_path):
    found = detections((10, 10, 50, 50, 0.9, 1))
    Image.fromarray(np.zeros((40, 40, 3), dtype=np.uint8)).save(record["file_name"])
    record |= {"height": 40, "width": 40}
    with pytest.raises(ValueError, match=r"photograph\.png.*\(80, 100\).*\(40, 40\)"):
        contact_sheet(tmp_path / "sheet.png", [record], [found])


@pytest.mark.parametrize("arguments", [{"pairs_per_row": 0}, {"tile_size": 4}])
def test_sizes_out_of_range_are_errors(record, detections, tmp_path, arguments):
    with pytest.raises(ValueError, match="pairs_per_row is at least 1"):
        contact_sheet(tmp_path / "sheet.png", [record], [detections()], **arguments)
