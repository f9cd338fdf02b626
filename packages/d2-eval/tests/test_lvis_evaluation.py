"""`LVISEvaluator`: the original's figures, its files, tasks."""

import json
import math

import pytest
import torch

from d2_eval import LVISEvaluator, evaluate_lvis_files
from d2_structures import Boxes, Instances


@pytest.fixture
def golden_run(golden, golden_instances, tmp_path):
    """Evaluate the golden predictions."""
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(golden("lvis", "annotations.json.gz")))

    def run(masks=True, **options):
        evaluator = LVISEvaluator(path, **options)
        evaluator.reset()
        for entry in golden("lvis", "predictions.json.gz"):
            instances = golden_instances(entry, masks=masks)
            proposals = Instances(
                instances.image_size,
                proposal_boxes=instances.pred_boxes,
                objectness_logits=instances.scores,
            )
            evaluator.process([entry], [{"instances": instances, "proposals": proposals}])
        return evaluator.evaluate()

    return run


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("default", {}),
        ("max_dets_per_image=3", {"max_dets_per_image": 3}),
        ("boxes only", {"masks": False}),
    ],
)
def test_golden_predictions_give_the_originals_figures(golden, golden_run, run, options):
    expected = golden("lvis", "expected.json")[run]
    results = golden_run(**options)
    assert results.keys() == expected.keys()
    for task, figures in expected.items():
        wanted = {name: math.nan if v is None else v for name, v in figures.items()}
        # the original averages recalls of proposals in float32
        allowed = 1e-5 if task == "box_proposals" else 1e-12
        assert results[task] == pytest.approx(wanted, abs=allowed, nan_ok=True)


def test_fixed_ap_is_reported_beside_the_standard_one(golden_run):
    standard, both = golden_run(), golden_run(fixed_ap=True, max_dets_per_image=3)
    assert {"bbox", "bbox_fixed", "segm", "segm_fixed"} <= both.keys()
    assert both["bbox"]["AP"] < standard["bbox"]["AP"]
    assert both["bbox_fixed"] == standard["bbox"]  # no class has 10 000 detections here


def test_its_file_of_results_scores_the_same(golden_run, tmp_path):
    results = golden_run(output_dir=tmp_path)
    written = tmp_path / "lvis_instances_results.json"
    again = evaluate_lvis_files(written, tmp_path / "annotations.json", mask_areas=True)
    assert again == {task: results[task] for task in ("bbox", "segm")}
    loaded = torch.load(tmp_path / "instances_predictions.pth", weights_only=True)
    assert len(loaded) == 28


def test_tasks_may_be_chosen(golden_run):
    assert golden_run(tasks="segm").keys() == {"box_proposals", "segm"}
    with pytest.raises(ValueError, match=r"tasks are some of \['bbox', 'segm'\]"):
        golden_run(tasks=("keypoints",))


def test_a_limit_below_1_is_an_error(golden_run):
    with pytest.raises(ValueError, match="max_dets_per_image is at least 1, got 0"):
        golden_run(max_dets_per_image=0)


def test_nothing_predicted_gives_no_figures(golden_run, tmp_path):
    golden_run()
    evaluator = LVISEvaluator(tmp_path / "annotations.json")
    evaluator.reset()
    nothing = Instances(
        (295, 316),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
    )
    evaluator.process([{"image_id": 3}], [{"instances": nothing}])
    scores = evaluator.evaluate()["bbox"]
    assert list(scores)[-3:] == ["APr", "APc", "APf"]
    assert all(math.isnan(score) for score in scores.values())
