import json
import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_eval import COCOEvaluator, evaluate_coco_files, instances_to_coco_json
from d2_eval.prediction_values import check_classes, report_unusual_scores, scores_of
from d2_structures import Boxes, Instances


def found(classes, scores=None):
    instances = Instances((40, 40))
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 1, 9, 9]]).repeat(len(classes), 1))
    instances.pred_classes = torch.as_tensor(classes)
    instances.scores = torch.full((len(classes),), 0.5) if scores is None else torch.tensor(scores)
    return instances


@pytest.mark.parametrize("wrong", [0.5, -0.1, 1e-6, float("nan"), float("inf"), 2.999999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classes_that_would_be_cut_are_refused_with_the_image(wrong, dtype):
    classes = torch.tensor([1.0, wrong], dtype=dtype)
    with pytest.raises(ValueError, match="image 7 have pred_classes such as .*whole numbers"):
        instances_to_coco_json(found(classes), 7)


def test_truth_values_are_no_classes():
    with pytest.raises(ValueError, match=r"pred_classes of torch\.bool"):
        check_classes(torch.tensor([True]), 7)


@given(st.lists(st.integers(0, 80)), st.sampled_from([torch.int64, torch.int32, torch.float32]))
def test_whole_numbers_of_any_type_are_classes(numbers, dtype):
    check_classes(torch.tensor(numbers, dtype=dtype), 7)


def test_classes_that_are_whole_as_floats_stay_what_they_are():
    results = instances_to_coco_json(found(torch.tensor([0.0, 2.0])), 7)
    assert [result["category_id"] for result in results] == [0, 2]


@pytest.fixture
def truth(tmp_path):
    content = {
        "images": [{"id": 7, "height": 40, "width": 40, "file_name": "a.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 8, 8], "area": 64}
            | {"iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    return path


def test_an_evaluator_tells_of_scores_that_are_no_probabilities_once(truth, caplog):
    evaluator = COCOEvaluator(truth, distributed=False)
    evaluator.reset()
    evaluator.process([{"image_id": 7}], [{"instances": found([0, 0, 0], [2.0, -1.0, 0.5])}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    said = "COCOEvaluator: 2 of 3 scores lie outside of 0 … 1, e.g. 2."
    assert caplog.text.count(said) == 1


def test_files_of_predictions_are_told_of_too(truth, tmp_path, caplog):
    results = [{"image_id": 7, "category_id": 1, "bbox": [1, 1, 8, 8], "score": 99.5}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    evaluate_coco_files(tmp_path / "results.json", truth)
    assert caplog.text.count("results.json: 1 of 1 scores lie outside of 0 … 1, e.g. 99.5") == 1


@given(st.lists(st.floats(0, 1)))
def test_probabilities_are_nothing_to_tell_of(scores):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("d2_eval.prediction_values")
    logger.addHandler(handler)
    try:
        report_unusual_scores(scores, "a model")
    finally:
        logger.removeHandler(handler)
    assert records == []


def test_what_is_no_number_is_left_to_the_check_of_results():
    assert scores_of([{"score": 0.5}, {}, {"score": "x"}, {"score": 2}]) == [0.5, 2]
