"""The blocks of the evaluation tutorial, with a dataset, a loader and a model put in."""

import json

import pytest
import torch

from d2_eval import COCOEvaluator
from d2_structures import Boxes, Instances

TUTORIAL = {
    "an evaluator of one's own": """
from d2_eval import DatasetEvaluator

class Counter(DatasetEvaluator):
  def reset(self):
    self.count = 0
  def process(self, inputs, outputs):
    for output in outputs:
      self.count += len(output["instances"])
  def evaluate(self):
    # save self.count somewhere, or print it, or return it.
    return {"count": self.count}
""",
    "by hand": """
def get_all_inputs_outputs():
  for data in data_loader:
    yield data, model(data)

evaluator.reset()
for inputs, outputs in get_all_inputs_outputs():
  evaluator.process(inputs, outputs)
eval_results = evaluator.evaluate()
""",
    "in one call": """
from d2_eval import DatasetEvaluators, inference_on_dataset

eval_results = inference_on_dataset(
    model,
    data_loader,
    DatasetEvaluators([coco_evaluator, Counter()]))
""",
}


class Finder(torch.nn.Module):
    """Finds the first object of each image."""

    def forward(self, batch):
        outputs = []
        for record in batch:
            x, y = (30.0, 30.0) if record["image_id"] == 2 else (10.0, 10.0)
            side = 40.0 if record["image_id"] == 2 else 20.0
            instances = Instances((80, 100), scores=torch.tensor([0.9]))
            instances.pred_boxes = Boxes(torch.tensor([[x, y, x + side, y + side]]))
            instances.pred_classes = torch.tensor([0])
            outputs.append({"instances": instances})
        return outputs


@pytest.fixture
def names(tmp_path, coco_content):
    (tmp_path / "pets.json").write_text(json.dumps(coco_content))
    return {
        "model": Finder(),
        "data_loader": [[{"image_id": 1}], [{"image_id": 2}]],
        "coco_evaluator": COCOEvaluator(tmp_path / "pets.json"),
    }


def run(names, *blocks):
    for block in blocks:
        exec(compile(TUTORIAL[block], block, "exec"), names)
    return names["eval_results"]


def test_an_evaluator_is_used_by_hand(names):
    names["evaluator"] = names["coco_evaluator"]
    results = run(names, "by hand")
    assert results["bbox"]["AP-cat"] == pytest.approx(100)


def test_an_evaluator_of_ones_own_counts_by_hand(names):
    exec(compile(TUTORIAL["an evaluator of one's own"], "own", "exec"), names)
    names["evaluator"] = names["Counter"]()
    assert run(names, "by hand") == {"count": 2}


def test_evaluators_are_merged_in_one_call(names):
    results = run(names, "an evaluator of one's own", "in one call")
    assert results["count"] == 2
    assert results["bbox"]["AP-cat"] == pytest.approx(100)
    assert results["bbox"]["AP-dog"] == 0
