import json
import math

import numpy as np
import pytest
import torch

from d2_eval import evaluate_coco_results
from d2_ops.host import polygons_to_rle


@pytest.fixture
def truth(tmp_path, coco_content):
    for annotation in coco_content["annotations"]:
        annotation |= {"keypoints": [20, 20, 2] * 2, "num_keypoints": 2}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco_content))
    return path


def result(**changes):
    return {"image_id": 1, "category_id": 3, "score": 0.9, "bbox": [10, 10, 20, 20], **changes}


@pytest.mark.parametrize("score", ["0.9", None, [0.9], math.inf])
def test_score_that_is_no_number_is_named(truth, score):
    with pytest.raises(ValueError, match=r"result 1 has the score .*, wanted a finite number"):
        evaluate_coco_results(truth, [result(), result(score=score)], "bbox")


@pytest.mark.parametrize("score", [np.float32(0.9), torch.tensor(0.9), 1])
def test_numbers_of_other_libraries_are_scores(truth, score):
    curves = evaluate_coco_results(truth, [result(score=score)], "bbox")
    assert curves.per_class()["cat"] > 50


@pytest.mark.parametrize("box", [["1", 1, 2, 2], [1, 2, 3], [1, 2, 3, math.nan], None, "1 2 3 4"])
def test_box_that_is_none_is_named(truth, box):
    with pytest.raises(ValueError, match=r"result 0 has the bbox .*; wanted \[x, y, width, heigh"):
        evaluate_coco_results(truth, [result(bbox=box)], "bbox")


@pytest.mark.parametrize("points", [[1, 2], ["a", 1, 1], [1, math.nan, 1]])
def test_keypoints_that_are_none_are_named(truth, points):
    with pytest.raises(ValueError, match="result 0 has the keypoints"):
        evaluate_coco_results(truth, [result(keypoints=points)], "keypoints")


def test_result_with_another_number_of_keypoints_is_named(truth):
    results = [result(keypoints=[1, 1, 1] * count) for count in (2, 2, 3)]
    with pytest.raises(ValueError, match="result 2 has 3 keypoints, result 0 has 2"):
        evaluate_coco_results(truth, results, "keypoints", kpt_oks_sigmas=(0.1, 0.1))


@pytest.mark.parametrize("fast", [True, False])
def test_counts_are_bytes_text_or_lengths(truth, fast):
    rle = polygons_to_rle([[10, 10, 30, 10, 30, 30, 10, 30]], 80, 100)
    lengths = [10 * 80 + 10, *[20, 60] * 19, 20, 70 * 80 + 50]
    for counts in (rle["counts"], rle["counts"].decode(), lengths):
        found = [result(segmentation={"size": [80, 100], "counts": counts})]
        curves = evaluate_coco_results(truth, found, "segm", use_fast_impl=fast)
        assert curves.average_recall(iou=0.95) == pytest.approx(25)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"size": [100, 80], "counts": "0"}, "100 x 80 pixels, but image 1 has 80 x 100"),
        ({"size": [80, 100]}, r"segmentation with \['size'\]"),
        ([[1, 2, 3, 4, 5, 6]], "segmentation of type list"),
        (None, "segmentation of type NoneType"),
    ],
)
def test_mask_that_is_none_is_named(truth, mask, message):
    with pytest.raises(ValueError, match=f"result 0 has a .*{message}"):
        evaluate_coco_results(truth, [result(segmentation=mask)], "segm")


@pytest.mark.parametrize("counts", ["zzz", "5", b"!"])
def test_mask_whose_counts_are_broken_is_named_by_its_place(truth, counts):
    fine = {"size": [80, 100], "counts": [8000]}
    found = [result(segmentation=fine), result(segmentation={"size": [80, 100], "counts": counts})]
    for task in ("segm", "boundary"):
        with pytest.raises(ValueError, match=r"result 1 has a mask that cannot be read: .*again"):
            evaluate_coco_results(truth, found, task)


@pytest.mark.parametrize("key", ["image_id", "category_id"])
@pytest.mark.parametrize("identity", [[1], {}, None, 99])
def test_id_that_the_annotations_lack_is_named(truth, key, identity):
    with pytest.raises(ValueError, match=rf"result 1 has {key} .*of different datasets"):
        evaluate_coco_results(truth, [result(), result(**{key: identity})], "bbox")


def test_id_that_is_written_otherwise_is_named_with_the_right_one(truth):
    with pytest.raises(ValueError, match="result 0 has image_id '1', .*; write it as 1"):
        evaluate_coco_results(truth, [result(image_id="1")], "bbox")


def test_an_error_that_no_mask_is_to_blame_for_is_not_its_own_cause(tmp_path, coco_content):
    for image in coco_content["images"]:
        del image["height"], image["width"]
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    found = [result(segmentation={"size": [80, 100], "counts": [8000]})]
    with pytest.raises(ValueError, match="no 'height' and 'width'") as error:
        evaluate_coco_results(tmp_path / "truth.json", found, "segm")
    assert error.value.__cause__ is None
