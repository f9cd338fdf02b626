import json

import attrs
import numpy as np
import pytest
from pycocotools.cocoeval import Params

from d2_eval import CocoSettings, evaluate_coco_results


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
def test_standard_settings_are_those_of_pycocotools(task):
    ours, theirs = CocoSettings.standard(task).official([1, 2], [7]), Params(task)
    np.testing.assert_array_equal(ours.iouThrs, theirs.iouThrs)
    np.testing.assert_array_equal(ours.recThrs, theirs.recThrs)
    assert (ours.areaRng, ours.areaRngLbl) == (theirs.areaRng, theirs.areaRngLbl)
    assert (ours.maxDets, ours.iouType) == (theirs.maxDets, theirs.iouType)
    assert (ours.imgIds, ours.catIds, ours.useCats) == ([1, 2], [7], 1)
    if task == "keypoints":
        np.testing.assert_array_equal(ours.kpt_oks_sigmas, theirs.kpt_oks_sigmas)


def test_settings_do_not_change():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CocoSettings("bbox").task = "segm"


@pytest.mark.parametrize(("limit", "limits"), [(None, (1, 10, 100)), (3, (1, 3)), (1, (1,))])
def test_limits_end_at_the_one_that_is_given(limit, limits):
    assert CocoSettings.standard("bbox", max_detections=limit).max_detections == limits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "boxes"}, "boxes"),
        ({"iou_thresholds": (0.7, 0.5)}, r"iou_thresholds are ascending .* \[0.7, 0.5\]"),
        ({"recall_thresholds": ()}, "recall_thresholds are ascending"),
        ({"iou_thresholds": (0.5, 50)}, "iou_thresholds are ascending .* 50"),
        ({"max_detections": (0, 10)}, "max_detections are ascending numbers from 1"),
        ({"areas": ("tiny",)}, "'all' among them"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        CocoSettings(**{"task": "bbox", **changes})


def test_a_limit_below_1_is_an_error():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        CocoSettings.standard("bbox", max_detections=0)


@pytest.mark.parametrize("use_fast_impl", [True, False])
def test_own_thresholds_and_sizes_are_evaluated(tmp_path, coco_content, use_fast_impl):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco_content))
    settings = CocoSettings(
        "bbox",
        iou_thresholds=(0.3, 0.5),
        areas=("all", "tiny"),
        area_ranges=((0, 1e10), (0, 400)),
        max_detections=(5,),
    )
    result = {"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 8], "score": 0.5}  # IoU 0.4
    curves = evaluate_coco_results(path, [result], settings, use_fast_impl=use_fast_impl)
    assert list(curves.metrics()) == ["AP", "AP50"]
    assert curves.average_recall(iou=0.3, area="tiny") == pytest.approx(100)
    assert curves.average_recall(iou=0.5, area="tiny") == 0
