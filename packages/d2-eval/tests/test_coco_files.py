"""COCO's metrics from files of predictions and annotations."""

import json
import math
import re

import pytest

from d2_eval import evaluate_coco_files

IMAGES = [{"id": 7, "width": 40, "height": 30}, {"id": 9, "width": 40, "height": 30}]
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]
BOX = [2.0, 3.0, 20.0, 10.0]
SQUARE = [[2, 3, 22, 3, 22, 13, 2, 13]]


def annotation(number, image_id=7, category_id=3, **more):
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": BOX,
        "area": 200.0,
        "iscrowd": 0,
        **more,
    }


@pytest.fixture
def files(tmp_path):
    """Write predictions and annotations; returns the two paths."""

    def write(results, annotations=None, **truth):
        content = {"images": IMAGES, "categories": CATEGORIES, "annotations": annotations, **truth}
        if annotations is None:
            content["annotations"] = [annotation(1), annotation(2, 9, 5)]
        paths = tmp_path / "results.json", tmp_path / "instances.json"
        for path, data in zip(paths, (results, content), strict=True):
            path.write_text(data if isinstance(data, str) else json.dumps(data))
        return paths

    return write


def result(**changes):
    entry = {"image_id": 7, "category_id": 3, "score": 0.9, "bbox": BOX, **changes}
    return {key: value for key, value in entry.items() if value is not None}


def test_perfect_boxes_score_100_for_their_class(files):
    scores = evaluate_coco_files(*files([result()]))
    assert scores.keys() == {"bbox"}
    assert scores["bbox"]["AP-cat"] == pytest.approx(100)
    assert scores["bbox"]["AP-dog"] == 0
    assert scores["bbox"]["AP"] == pytest.approx(50)


def test_a_single_class_has_no_scores_of_its_own(files):
    paths = files([result()], [annotation(1)], categories=CATEGORIES[:1])
    assert not any("-" in metric for metric in evaluate_coco_files(*paths)["bbox"])


def test_the_tasks_are_those_that_the_predictions_have_fields_for(files):
    points = [4, 5, 2] * 17
    paths = files([result(bbox=None, keypoints=points)], [annotation(1, keypoints=points)])
    assert evaluate_coco_files(*paths).keys() == {"keypoints"}


def test_without_predictions_the_tasks_are_those_of_the_annotations(files):
    scores = evaluate_coco_files(*files([], [annotation(1, segmentation=SQUARE)]))
    assert scores.keys() == {"bbox", "segm"}
    assert scores["segm"]["AP"] == 0


def test_tasks_may_be_chosen(files):
    paths = files([result(segmentation={"size": [30, 40], "counts": "0"})])
    assert evaluate_coco_files(*paths, tasks=["bbox"]).keys() == {"bbox"}
    with pytest.raises(ValueError, match=r"tasks are some of .*got \['masks'\]"):
        evaluate_coco_files(*paths, tasks=["masks"])


def test_sizes_without_ground_truth_are_nan(files):
    assert math.isnan(evaluate_coco_files(*files([result()]))["bbox"]["APl"])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("[{", "is not valid JSON"),
        ({"annotations": []}, "holds an object with ['annotations']; wanted COCO's result format"),
        ([7], "result 0 in"),
        ([result(), result(score=None)], "result 1 has no 'score'"),
        ([result(score="0.9")], "has the score '0.9', wanted a finite number"),
        ([result(bbox=[1, 2, 3])], "has the bbox [1, 2, 3]; wanted [x, y, width, height]"),
        ([result(bbox=None, keypoints=[1, 2])], "has the keypoints [1, 2]; wanted [x1, y1, score1"),
        ([result(image_id=8)], "result 0 has image_id 8, which 'instances' does not list"),
        ([result(category_id=4)], "result 0 has category_id 4"),
        ([result(bbox=None)], "the predictions have none of bbox, segmentation, keypoints"),
        ([result(), result(bbox=None)], "result 1 has no 'bbox'"),
    ],
)
def test_predictions_that_do_not_fit_are_named(files, results, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate_coco_files(*files(results))


def test_an_error_names_the_file_of_predictions(files):
    with pytest.raises(ValueError, match="image_id 8") as raised:
        evaluate_coco_files(*files([result(image_id=8)]))
    assert "results.json" in raised.value.__notes__[0]


def test_annotations_are_needed(files):
    predictions, truth = files([result()])
    truth.write_text(json.dumps({"images": IMAGES, "categories": CATEGORIES}))
    with pytest.raises(ValueError, match="lists images without annotations"):
        evaluate_coco_files(predictions, truth)


def test_a_missing_file_is_named(files, tmp_path):
    predictions, truth = files([result()])
    with pytest.raises(FileNotFoundError, match="no file of predictions .*gone.json"):
        evaluate_coco_files(tmp_path / "gone.json", truth)
    with pytest.raises(FileNotFoundError, match="no annotation file .*gone.json"):
        evaluate_coco_files(predictions, tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("task", "predictions", "key"),
    [
        ("bbox", "instances_val2014_fakebbox100_results.json", "fakebbox_100"),
        ("segm", "instances_val2014_fakesegm100_results.json", "fakesegm_100"),
    ],
)
def test_the_numbers_are_the_official_ones_of_coco(shared_data, task, predictions, key):
    folder = shared_data / "data" / "coco54"
    wanted = json.loads((folder / "reference.json").read_text())[key]
    truth = folder / "instances_val2014_100.json"
    scores = evaluate_coco_files(folder / predictions, truth)[task]
    for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert scores[metric] == pytest.approx(100 * wanted[metric], abs=1e-9)


def test_the_numbers_are_the_official_ones_of_keypoints(shared_data):
    folder = shared_data / "data" / "keypoints" / "faster_coco_eval"
    wanted = json.loads((folder.parent / "reference.json").read_text())["faster_coco_eval"]
    scores = evaluate_coco_files(folder / "dt_dataset.json", folder / "gt_dataset.json")
    for metric in ("AP", "AP50", "AP75", "APm", "APl"):
        assert scores["keypoints"][metric] == pytest.approx(100 * wanted[metric], abs=1e-9)
