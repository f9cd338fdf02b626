from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from d2_eval.report import contact_sheet
from d2_structures import BoxMode


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


METADATA = SimpleNamespace(thing_classes=["cat", "dog"], thing_colors=[(255, 0, 0), (0, 0, 255)])


def picture(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_annotations_stand_left_and_predictions_right(record, detections, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    found = detections((10, 10, 50, 50, 0.9, 1), masks=True)
    assert contact_sheet(path, [record], [found], METADATA, tile_size=200) == path
    pixels = picture(path)
    half = pixels.shape[1] // 2
    left, right = pixels[:, :half], pixels[:, half:]
    different = np.abs(left - left[-12, 40]).sum(axis=2) > 60
    assert different.any()
    assert not np.array_equal(left[:, :190], right[:, :190])


def test_predictions_with_a_low_score_are_not_drawn(record, detections, tmp_path):
    low = detections((10, 10, 50, 50, 0.3, 1), masks=True)
    contact_sheet(tmp_path / "low.png", [record], [low], METADATA, score_threshold=0.5)
    contact_sheet(tmp_path / "none.png", [record], [detections(masks=True)], METADATA)
    contact_sheet(tmp_path / "all.png", [record], [low], METADATA, score_threshold=0.1)
    low_pixels, none_pixels = picture(tmp_path / "low.png"), picture(tmp_path / "none.png")
    np.testing.assert_array_equal(low_pixels, none_pixels)
    assert not np.array_equal(picture(tmp_path / "all.png"), none_pixels)


def test_pairs_fill_rows(record, detections, tmp_path):
    found = detections((10, 10, 50, 50, 0.9, 1))
    contact_sheet(tmp_path / "one.png", [record], [found], tile_size=100, pairs_per_row=2)
    contact_sheet(tmp_path / "three.png", [record] * 3, [found] * 3, tile_size=100, pairs_per_row=2)
    one, three = picture(tmp_path / "one.png"), picture(tmp_path / "three.png")
    assert three.shape[1] > 1.8 * one.shape[1]
    assert three.shape[0] > 1.6 * one.shape[0]


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
