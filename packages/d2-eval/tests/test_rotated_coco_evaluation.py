"""Turned boxes: values of the original, and upright boxes as a special case."""

import gzip
import json

import numpy as np
import pytest
import torch

from d2_eval import RotatedCOCOEvaluator, evaluate_coco_files, evaluate_coco_results
from d2_structures import Instances, RotatedBoxes


def instances(boxes, scores, classes, size=(100, 100)):
    return Instances(
        size,
        pred_boxes=RotatedBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


@pytest.fixture
def one_box(tmp_path):
    """Write a dataset of one image with one object, and evaluate boxes on it."""

    def evaluate(truth, boxes, **more):
        content = {
            "images": [{"id": 1, "height": 100, "width": 100}],
            "categories": [{"id": 1, "name": "ship"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": truth,
                    "area": truth[2] * truth[3],
                    "iscrowd": 0,
                    **more,
                }
            ],
        }
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(content))
        evaluator = RotatedCOCOEvaluator(path)
        evaluator.reset()
        found = instances(boxes, [0.9 - 0.1 * i for i in range(len(boxes))], [0] * len(boxes))
        evaluator.process([{"image_id": 1}], [{"instances": found}])
        return evaluator.evaluate()["bbox"]

    return evaluate


def test_golden_predictions_give_the_originals_figures(shared_data):
    folder = shared_data / "golden" / "evaluators" / "rotated_coco"
    evaluator = RotatedCOCOEvaluator(folder / "annotations.json")
    evaluator.reset()
    with gzip.open(folder / "predictions.json.gz") as stream:
        predictions = json.load(stream)
    for one in predictions:
        size = (one["height"], one["width"])
        found = instances(one["pred_boxes"], one["scores"], one["pred_classes"], size)
        evaluator.process([one], [{"instances": found}])
    expected = json.loads((folder / "expected.json").read_text())
    assert evaluator.evaluate()["bbox"] == pytest.approx(expected["bbox"], abs=1e-9)


@pytest.mark.parametrize(
    "box", [[50, 50, 40, 20, 210], [50, 50, 20, 40, 120], [50, 50, 40, 20, 30]]
)
def test_the_same_rectangle_written_otherwise_is_found(one_box, box):
    assert one_box([50, 50, 40, 20, 30], [box])["AP"] == pytest.approx(100)


def test_the_wrong_angle_is_a_miss(one_box):
    assert one_box([50, 50, 40, 10, 0], [[50, 50, 40, 10, 90]])["AP"] == 0


def test_ground_truth_of_four_numbers_is_an_upright_box(one_box):
    assert one_box([30, 40, 40, 20], [[50, 50, 40, 20, 0]])["AP"] == pytest.approx(100)


def test_detections_inside_a_crowd_do_not_count(one_box):
    scores = one_box([50, 50, 80, 80, 45], [[50, 50, 8, 8, 10], [40, 50, 8, 8, 0]], iscrowd=1)
    assert np.isnan(scores["AP"])


def test_upright_boxes_score_as_boxes_do(tmp_path):
    rng = np.random.default_rng(3)
    annotations, results = [], []
    for number in range(40):
        place = {"image_id": int(rng.integers(3)), "category_id": int(rng.integers(2))}
        x, y, w, h = rng.uniform(5, 60, 4)
        box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(rng.random() < 0.15)}
        annotations.append({**place, "id": number + 1, **box})
        for _ in range(2):
            near = (np.array([x, y, w, h]) + rng.normal(0, 2, 4)).tolist()
            results.append({**place, "bbox": near, "score": float(rng.random())})
    content = {
        "images": [{"id": i, "height": 128, "width": 128} for i in range(3)],
        "categories": [{"id": i, "name": str(i)} for i in range(2)],
        "annotations": annotations,
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    upright = evaluate_coco_results(path, results, "bbox")
    turned = [
        {**r, "bbox": [r["bbox"][0] + r["bbox"][2] / 2, r["bbox"][1] + r["bbox"][3] / 2]}
        for r in results
    ]
    for one, other in zip(turned, results, strict=True):
        one["bbox"] += [*other["bbox"][2:], 0.0]
    rotated = evaluate_coco_results(path, turned, "rotated_bbox")
    np.testing.assert_array_equal(rotated.precision, upright.precision)
    np.testing.assert_array_equal(rotated.recall, upright.recall)
    (tmp_path / "results.json").write_text(json.dumps(turned))
    from_files = evaluate_coco_files(tmp_path / "results.json", path)
    assert from_files["rotated_bbox"] == rotated.scores_by_name()


def test_masks_and_pycocotools_are_refused(one_box, tmp_path):
    one_box([50, 50, 40, 10, 0], [])
    with pytest.raises(ValueError, match=r"tasks are some of \['bbox'\], got \['segm'\]"):
        RotatedCOCOEvaluator(tmp_path / "truth.json", tasks=("segm",))
    with pytest.raises(ValueError, match="pycocotools knows no turned boxes"):
        evaluate_coco_results(tmp_path / "truth.json", [], "rotated_bbox", use_fast_impl=False)
