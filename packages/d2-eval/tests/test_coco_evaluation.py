import json
import logging
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from d2_data import Metadata
from d2_eval import COCOEvaluator, DatasetEvaluators, inference_on_dataset
from d2_ops.host import rle_decode
from d2_structures import Boxes, BoxMode, Instances


@pytest.fixture
def json_file(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    return path


INPUTS = [{"image_id": 1}, {"image_id": 2}]


@pytest.fixture
def perfect(detections):
    return [
        {"instances": detections((10, 10, 30, 30, 0.9, 0), (50, 20, 90, 60, 0.8, 1), masks=True)},
        {"instances": detections((30, 30, 70, 70, 0.7, 0), masks=True)},
    ]


def evaluated(evaluator: COCOEvaluator, inputs: list, outputs: list, **arguments: object) -> dict:
    evaluator.reset()
    evaluator.process(inputs, outputs)
    return evaluator.evaluate(**arguments)


# Results


def test_perfect_predictions_reach_100_in_every_task_they_carry(json_file, perfect):
    results = evaluated(COCOEvaluator(json_file), INPUTS, perfect)
    assert list(results) == ["bbox", "segm"]
    for scores in results.values():
        assert list(scores) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AP-cat", "AP-dog"]
        assert scores["AP"] == pytest.approx(100)
        assert math.isnan(scores["APl"])


def test_the_fast_implementation_gives_the_official_numbers(json_file, perfect, detections):
    outputs = [perfect[0], {"instances": detections((28, 33, 71, 64, 0.7, 0), masks=True)}]
    evaluators = [COCOEvaluator(json_file, use_fast_impl=fast) for fast in (True, False)]
    fast, official = (evaluated(evaluator, INPUTS, outputs) for evaluator in evaluators)
    np.testing.assert_equal(fast, official)  # NaN equals NaN
    assert 0 < fast["segm"]["AP"] < 100


def test_given_tasks_are_the_ones_evaluated(json_file, perfect):
    evaluator = COCOEvaluator(json_file, tasks=("segm",))
    assert list(evaluated(evaluator, INPUTS, perfect)) == ["segm"]


def test_a_single_class_has_no_per_class_scores(tmp_path, coco_content, detections):
    coco_content["categories"] = coco_content["categories"][:1]
    for annotation in coco_content["annotations"]:
        annotation["category_id"] = 3
    path = tmp_path / "single.json"
    path.write_text(json.dumps(coco_content))
    outputs = [{"instances": detections((10, 10, 30, 30, 0.9, 0))}]
    results = evaluated(COCOEvaluator(path), INPUTS[:1], outputs)
    assert list(results["bbox"]) == ["AP", "AP50", "AP75", "APs", "APm", "APl"]


def test_keypoints_are_evaluated_with_the_given_sigmas(tmp_path, coco_content, detections):
    for annotation in coco_content["annotations"]:
        x, y, side, _ = annotation["bbox"]
        annotation["keypoints"] = [x, y, 2, x + side, y + side, 2]
        annotation["num_keypoints"] = 2
    path = tmp_path / "keypoints.json"
    path.write_text(json.dumps(coco_content))
    instances = detections((50, 20, 90, 60, 0.8, 1))
    # Predictions are continuous coordinates: half a pixel more than COCO's indices.
    instances.pred_keypoints = torch.tensor([[[50.5, 20.5, 1.0], [90.5, 60.5, 1.0]]])
    evaluator = COCOEvaluator(path, kpt_oks_sigmas=(0.001, 0.001))
    results = evaluated(evaluator, INPUTS[:1], [{"instances": instances}])
    assert results["keypoints"]["AP-dog"] == pytest.approx(100)
    assert "APs" not in results["keypoints"]


def test_only_the_images_asked_for_are_evaluated(json_file, perfect):
    evaluator = COCOEvaluator(json_file)
    half = evaluated(evaluator, INPUTS[:1], perfect[:1])
    chosen = evaluated(evaluator, INPUTS[:1], perfect[:1], img_ids=[1])
    assert half["bbox"]["AP"] < 99
    assert chosen["bbox"]["AP"] == pytest.approx(100)


def test_a_limit_on_detections_is_respected(json_file, detections, perfect):
    noise = detections(*[(0, 0, 9, 9, 0.99, 0)] * 2, (30, 30, 70, 70, 0.7, 0))
    outputs = [perfect[0], {"instances": noise}]
    tight = evaluated(COCOEvaluator(json_file, ["bbox"], max_dets_per_image=2), INPUTS, outputs)
    wide = evaluated(COCOEvaluator(json_file, ["bbox"], max_dets_per_image=3), INPUTS, outputs)
    assert tight["bbox"]["AP-cat"] < wide["bbox"]["AP-cat"]


def test_results_belong_to_the_caller(json_file, perfect):
    evaluator = COCOEvaluator(json_file)
    results = evaluated(evaluator, INPUTS, perfect)
    results["bbox"]["AP"] = 0
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)


def test_reset_forgets_earlier_predictions(json_file, perfect):
    evaluator = COCOEvaluator(json_file)
    evaluated(evaluator, INPUTS, perfect)
    results = evaluated(evaluator, INPUTS[1:], perfect[1:])
    assert results["bbox"]["AP-dog"] == 0


def test_an_image_that_is_repeated_counts_once(json_file, perfect, caplog):
    evaluator = COCOEvaluator(json_file)
    evaluator.reset()
    evaluator.process(INPUTS, perfect)
    evaluator.process(INPUTS[:1], perfect[:1])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    assert "1 predictions belong to images that were processed before" in caplog.text


def test_it_works_through_inference_on_dataset_and_beside_others(json_file, perfect):
    outputs = {1: perfect[0], 2: perfect[1]}
    results = inference_on_dataset(
        lambda batch: [outputs[record["image_id"]] for record in batch],
        [[record] for record in INPUTS],
        DatasetEvaluators([COCOEvaluator(json_file)]),
    )
    assert results["segm"]["AP50"] == pytest.approx(100)


def test_the_curves_are_kept(json_file, perfect):
    evaluator = COCOEvaluator(json_file)
    results = evaluated(evaluator, INPUTS, perfect)
    assert list(evaluator.curves) == ["bbox", "segm"]
    assert evaluator.curves["bbox"].metrics()["AP"] == results["bbox"]["AP"]


def test_showing_the_results_is_left_to_the_caller(json_file, perfect, caplog):
    with caplog.at_level(logging.INFO, logger="d2_eval"):
        evaluated(COCOEvaluator(json_file), INPUTS, perfect)
    assert "AP" not in caplog.text


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_instances_of_real_photographs_reach_the_official_numbers(shared_data, task):
    folder = shared_data / "data" / "coco54"
    reference = json.loads((folder / "reference.json").read_text())[f"fake{task}_54"]
    evaluator = COCOEvaluator(folder / "instances_coco54.json", tasks=(task,))
    content = json.loads((folder / "instances_coco54.json").read_text())
    contiguous = {c: i for i, c in enumerate(sorted(c["id"] for c in content["categories"]))}
    results = json.loads((folder / f"fake{task}_coco54_results.json").read_text())
    evaluator.reset()
    for image in content["images"]:
        own = [result for result in results if result["image_id"] == image["id"]]
        instances = Instances((image["height"], image["width"]))
        boxes = torch.tensor([r.get("bbox", [0, 0, 1, 1]) for r in own]).reshape(-1, 4)
        instances.pred_boxes = Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1))
        instances.scores = torch.tensor([r["score"] for r in own], dtype=torch.float64)
        instances.pred_classes = torch.tensor([contiguous[r["category_id"]] for r in own])
        if task == "segm" and own:
            masks = [
                rle_decode({**r["segmentation"], "counts": r["segmentation"]["counts"].encode()})
                for r in own
            ]
            instances.pred_masks = torch.from_numpy(np.stack(masks)).bool()
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
    scores = evaluator.evaluate()[task]
    for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        # Some of these made-up boxes overlap theirs by exactly a threshold, where the float32 of
        # the model's boxes decides.
        tolerance = 0.2 if task == "bbox" else 1e-6
        assert scores[metric] == pytest.approx(100 * reference[metric], abs=tolerance)


# Datasets


def test_a_catalog_dataset_without_a_file_is_converted(register, detections, tmp_path):
    annotation = {"bbox": [10, 10, 20, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    sample = {
        "file_name": "a.png",
        "image_id": "first",
        "height": 80,
        "width": 100,
        "annotations": [annotation],
    }
    register("evaluation_standard", [sample], thing_classes=["cat", "dog"])
    evaluator = COCOEvaluator("evaluation_standard", output_dir=tmp_path)
    outputs = [{"instances": detections((10, 10, 30, 30, 0.9, 1))}]
    results = evaluated(evaluator, [{"image_id": "first"}], outputs)
    assert results["bbox"]["AP-dog"] == pytest.approx(100)
    assert (tmp_path / "evaluation_standard_coco_format.json").exists()


def test_metadata_may_be_given_directly(json_file, perfect):
    metadata = Metadata(name="direct", json_file=str(json_file))
    assert evaluated(COCOEvaluator(metadata), INPUTS, perfect)["bbox"]["AP"] > 99


def test_a_test_set_without_annotations_only_writes_files(tmp_path, coco_content, perfect):
    del coco_content["annotations"]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(coco_content))
    output = tmp_path / "output"
    assert evaluated(COCOEvaluator(path, output_dir=output), INPUTS, perfect) == {}
    assert (output / "coco_instances_results.json").exists()


# Files


def test_results_are_written_in_cocos_format(json_file, perfect, tmp_path):
    output = tmp_path / "output"
    evaluated(COCOEvaluator(json_file, output_dir=output), INPUTS, perfect)
    results = json.loads((output / "coco_instances_results.json").read_text())
    assert [r["category_id"] for r in results] == [3, 7, 3]
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}


def test_predictions_are_written_as_plain_data(json_file, perfect, tmp_path):
    output = tmp_path / "output"
    evaluated(COCOEvaluator(json_file, output_dir=output), INPUTS, perfect)
    predictions = torch.load(output / "instances_predictions.pth", weights_only=True)
    assert [p["image_id"] for p in predictions] == [1, 2]
    assert len(predictions[0]["instances"]) == 2


# Nothing predicted


def test_no_instances_at_all_give_nan_and_a_warning(json_file, detections, caplog):
    outputs = [{"instances": detections()}, {"instances": detections()}]
    results = evaluated(COCOEvaluator(json_file), INPUTS, outputs)
    assert list(results) == ["bbox"]
    assert all(math.isnan(score) for score in results["bbox"].values())
    assert "no instances at all" in caplog.text


def test_no_images_at_all_give_nothing_and_a_warning(json_file, caplog):
    assert evaluated(COCOEvaluator(json_file), [], []) == {}
    assert "did not receive predictions" in caplog.text


# Proposals


def test_proposals_are_evaluated_beside_instances(json_file, perfect):
    proposals = Instances((80, 100))
    proposals.proposal_boxes = Boxes(torch.tensor([[10.0, 10, 30, 30], [50, 20, 90, 60]]))
    proposals.objectness_logits = torch.tensor([1.0, 0.5])
    outputs = [{**perfect[0], "proposals": proposals}, perfect[1]]
    results = evaluated(COCOEvaluator(json_file), INPUTS, outputs)
    assert results["box_proposals"]["AR@100"] == pytest.approx(100)
    assert "bbox" in results


# Bad input


def test_processing_before_reset_is_an_error(json_file, perfect):
    with pytest.raises(RuntimeError, match="reset"):
        COCOEvaluator(json_file).process(INPUTS, perfect)


def test_evaluating_before_reset_is_an_error(json_file):
    with pytest.raises(RuntimeError, match="reset"):
        COCOEvaluator(json_file).evaluate()


def test_a_class_that_the_dataset_lacks_is_named(json_file, detections):
    outputs = [{"instances": detections((0, 0, 9, 9, 0.9, 5))}]
    with pytest.raises(ValueError, match=r"class 5, but 'annotations' has 2 classes"):
        evaluated(COCOEvaluator(json_file), INPUTS[:1], outputs)


def test_an_image_that_the_dataset_lacks_is_named(json_file, perfect):
    with pytest.raises(ValueError, match="image_id 99"):
        evaluated(COCOEvaluator(json_file), [{"image_id": 99}], perfect[:1])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([{"image_id": 1}], [], "1 inputs but 0 outputs"),
        ([{"file_name": "a"}], [{"instances": None}], "no 'image_id'"),
        ([{"image_id": 1}], [{"sem_seg": None}], "neither 'instances' nor 'proposals'"),
    ],
)
def test_malformed_batches_are_errors(json_file, inputs, outputs, message):
    evaluator = COCOEvaluator(json_file)
    evaluator.reset()
    with pytest.raises(ValueError, match=message):
        evaluator.process(inputs, outputs)


@pytest.mark.parametrize("tasks", [("boxes",), ()])
def test_unknown_tasks_are_errors(json_file, tasks):
    with pytest.raises(ValueError, match="tasks are some of"):
        COCOEvaluator(json_file, tasks=tasks)


def test_a_limit_below_one_is_an_error(json_file):
    with pytest.raises(ValueError, match="max_dets_per_image"):
        COCOEvaluator(json_file, max_dets_per_image=0)


# Several processes

DISTRIBUTED = """
import json, sys
import torch, torch.distributed as dist
from d2_structures import Boxes, Instances
from d2_eval import COCOEvaluator

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group(
    "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
)
rows = [
    [[10, 10, 30, 30, 0.9, 0], [50, 20, 90, 60, 0.8, 1]],
    [[30, 30, 70, 70, 0.7, 0]],
][rank]
table = torch.tensor(rows)
instances = Instances((80, 100))
instances.pred_boxes = Boxes(table[:, :4])
instances.scores = table[:, 4]
instances.pred_classes = table[:, 5].long()
results = {}
for distributed in (True, False):
    evaluator = COCOEvaluator(f"{folder}/annotations.json", distributed=distributed)
    evaluator.reset()
    evaluator.process([{"image_id": rank + 1}], [{"instances": instances}])
    results[distributed] = evaluator.evaluate()
with open(f"{folder}/results{rank}.json", "w") as stream:
    json.dump(results, stream)
dist.barrier()
dist.destroy_process_group()
"""


def test_the_main_process_evaluates_the_predictions_of_all(json_file, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path)], env=environment
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    main, other = (json.loads((tmp_path / f"results{rank}.json").read_text()) for rank in range(2))
    assert main["true"]["bbox"]["AP"] == pytest.approx(100)
    assert other["true"] == {}
    assert other["false"]["bbox"]["AP-dog"] == 0
    assert main["false"]["bbox"]["AP-dog"] == pytest.approx(100)
