import copy
import json

import numpy as np
import pytest

from d2_eval import CocoGroundTruth, CocoSettings, evaluate_coco_results
from d2_eval.coco.targets import completed
from d2_ops.host import polygons_to_rle, rle_area


@pytest.fixture
def write(tmp_path):
    def write_content(content):
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(content))
        return path

    return write_content


def mask_result(image_id, category_id, corners, score=0.9):
    rle = polygons_to_rle([corners], 80, 100)
    return {"image_id": image_id, "category_id": category_id, "score": score, "segmentation": rle}


SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]


@pytest.mark.parametrize("nothing", [[], None, "missing", [[1, 2, 3, 4]]])
def test_object_without_a_mask_is_one_that_no_mask_matches(write, coco_content, nothing):
    lacking = coco_content["annotations"][2]  # the second cat
    if nothing == "missing":
        del lacking["segmentation"]
    else:
        lacking["segmentation"] = nothing
    results = [mask_result(1, 3, SQUARE), mask_result(2, 3, [30, 30, 70, 30, 70, 70, 30, 70])]
    path = write(coco_content)
    fast, official = (
        evaluate_coco_results(path, results, "segm", use_fast_impl=fast) for fast in (True, False)
    )
    np.testing.assert_array_equal(fast.precision, official.precision)
    assert fast.average_recall(iou=0.5, area="all") == pytest.approx(25)  # of 2 cats one, no dog
    boxes = evaluate_coco_results(
        path,
        [{"image_id": 2, "category_id": 3, "score": 1, "bbox": [30, 30, 40, 40]}],
        "bbox",
    )
    assert boxes.average_recall() == pytest.approx(25)  # as a box it can be found


def test_two_point_parts_of_an_outline_do_not_count(write, coco_content):
    coco_content["annotations"][0]["segmentation"].append([0, 0, 90, 70])
    results = [mask_result(1, 3, SQUARE)]
    path = write(coco_content)
    for fast in (True, False):
        curves = evaluate_coco_results(path, results, "segm", use_fast_impl=fast)
        assert curves.average_recall(iou=0.95) == pytest.approx(25)


def test_empty_masks_have_the_size_of_the_image(write, coco_content):
    del coco_content["annotations"][0]["segmentation"]
    truth = CocoGroundTruth.load(write(coco_content))
    masks = completed(truth, truth.coco.anns.values(), CocoSettings.standard("segm"))
    assert masks[0]["segmentation"]["size"] == [80, 100]
    assert rle_area(masks[0]["segmentation"]) == 0


def test_masks_in_images_of_unknown_size_are_an_error(write, coco_content):
    del coco_content["images"][1]["height"]
    truth = CocoGroundTruth.load(write(coco_content))
    with pytest.raises(ValueError, match="'truth': image 2 has no 'height' and 'width'"):
        completed(truth, truth.coco.anns.values(), CocoSettings.standard("segm"))


def test_objects_without_keypoints_get_unlabelled_ones(write, coco_content):
    coco_content["annotations"][0]["keypoints"] = [5, 5, 2, 6, 6, 0]
    coco_content["annotations"][1]["keypoints"] = None
    truth = CocoGroundTruth.load(write(coco_content))
    settings = CocoSettings.standard("keypoints", keypoint_sigmas=(0.1, 0.1))
    first, second, _ = completed(truth, truth.coco.anns.values(), settings)
    assert [one["keypoints"] for one in (first, second)] == [[5, 5, 2, 6, 6, 0], [0] * 6]
    assert [one["num_keypoints"] for one in (first, second)] == [1, 0]


@pytest.mark.parametrize("task", ["bbox", "segm", "boundary", "keypoints"])
@pytest.mark.parametrize("use_fast_impl", [True, False])
def test_evaluating_leaves_the_ground_truth_as_it_is(write, coco_content, task, use_fast_impl):
    coco_content["annotations"][0]["keypoints"] = [5, 5, 2, 6, 6, 0]
    del coco_content["annotations"][1]["segmentation"]
    truth = CocoGroundTruth.load(write(coco_content))
    before = copy.deepcopy(truth.coco.dataset)
    result = {**mask_result(1, 3, SQUARE), "bbox": [1, 1, 9, 9], "keypoints": [5, 5, 1, 6, 6, 1]}
    evaluate_coco_results(
        truth, [result], task, kpt_oks_sigmas=(0.1, 0.1), use_fast_impl=use_fast_impl
    )
    assert truth.coco.dataset == before


def test_annotation_with_another_number_of_keypoints_is_named(write, coco_content):
    for annotation, count in zip(coco_content["annotations"], (2, 2, 5), strict=True):
        annotation["keypoints"] = [5, 5, 2] * count
    results = [{"image_id": 1, "category_id": 3, "score": 1, "keypoints": [5, 5, 1] * 2}]
    with pytest.raises(ValueError, match="annotation id 3 of image 2 has 5 keypoints, others ha"):
        evaluate_coco_results(write(coco_content), results, "keypoints", kpt_oks_sigmas=(0.1, 0.1))
