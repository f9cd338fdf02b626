"""Steps of the evaluators of instances that subclasses overwrite."""

import json
from typing import Any

import pytest
import torch

from d2_eval import COCOEvaluator
from d2_structures import Boxes, Instances


def test_the_steps_of_a_subclass_make_the_results(tmp_path):
    class Mine(COCOEvaluator):
        def _eval_predictions(self, predictions: Any, img_ids: Any = None) -> None:
            super()._eval_predictions(predictions, img_ids)
            self._results["mine"] = {"images": float(len(predictions))}

        def _eval_box_proposals(self, predictions: Any) -> None:
            self._results["box_proposals"] = {"AR": 50.0}

        def _tasks_from_predictions(self, results: Any) -> Any:
            asked.append(len(results.scores))
            return ("bbox",)

    asked: list[int] = []
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8], "area": 64, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "height": 20, "width": 20, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [box],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    found = Instances((20, 20), pred_boxes=Boxes([[1, 1, 9, 9]]), scores=torch.ones(1))
    found.pred_classes = torch.zeros(1, dtype=torch.int64)
    proposals = Instances((20, 20), proposal_boxes=Boxes([[1, 1, 9, 9]]))
    proposals.objectness_logits = torch.ones(1)
    evaluator = Mine(tmp_path / "truth.json")
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": found, "proposals": proposals}])
    results = evaluator.evaluate()
    assert results["mine"] == {"images": 1.0}
    assert results["box_proposals"] == {"AR": 50.0}
    assert results["bbox"]["AP"] == pytest.approx(100.0)
    assert asked == [1]
    again = evaluator.evaluate(img_ids=[1])["bbox"]
    assert again == pytest.approx(results["bbox"], nan_ok=True)
