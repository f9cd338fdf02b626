"""`CocoMetric`: as torchmetrics' metrics are used, with COCO's figures."""

import json
import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2_eval import COCOEvaluator, CocoMetric
from d2_structures import BitMasks, Boxes, Instances


def random_batch(seed):
    """Predictions and targets of three images with masks, as dicts of tensors."""
    generator = torch.Generator().manual_seed(seed)
    predictions, targets = [], []
    for _ in range(3):
        corner = torch.randint(0, 40, (4, 2), generator=generator).float()
        side = torch.randint(8, 40, (4, 2), generator=generator).float()
        boxes = torch.cat((corner, corner + side), dim=1)
        labels = torch.randint(0, 3, (4,), generator=generator)
        targets.append({"boxes": boxes, "labels": labels, "masks": filled(boxes)})
        moved = boxes + torch.randint(-3, 4, (4, 4), generator=generator)
        predictions.append(
            {
                "boxes": moved,
                "labels": labels,
                "scores": torch.rand(4, generator=generator),
                "masks": filled(moved),
            }
        )
    return predictions, targets


def filled(boxes):
    masks = torch.zeros(len(boxes), 90, 90, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.clamp(min=0).int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def as_instances(one):
    instances = Instances((90, 90), pred_boxes=Boxes(one["boxes"]), scores=one["scores"])
    instances.pred_classes, instances.pred_masks = one["labels"], one["masks"]
    return instances


def test_scores_are_those_of_the_evaluator_on_the_same_annotations(tmp_path):
    metric = CocoMetric(("bbox", "segm"), class_names=["a", "b", "c"])
    predictions, targets = [], []
    for seed in range(3):
        batch = random_batch(seed)
        metric.update(*batch)
        predictions += batch[0]
        targets += batch[1]
    content = {
        "images": [{"id": i + 1, "height": 90, "width": 90} for i in range(len(targets))],
        "categories": [{"id": i, "name": name} for i, name in enumerate("abc")],
        "annotations": [],
    }
    for number, one in enumerate(targets, start=1):
        for box, label in zip(one["boxes"].tolist(), one["labels"].tolist(), strict=True):
            x1, y1, x2, y2 = box
            annotation = {
                "id": len(content["annotations"]) + 1,
                "image_id": number,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            content["annotations"].append(annotation)
    (tmp_path / "truth.json").write_text(json.dumps(content))
    evaluator = COCOEvaluator(tmp_path / "truth.json")
    evaluator.reset()
    inputs = [{"image_id": number} for number in range(1, len(targets) + 1)]
    evaluator.process(inputs, [{"instances": as_instances(one)} for one in predictions])
    expected = evaluator.evaluate()
    assert expected["bbox"]["AP"] > 10
    computed = metric.compute()
    for task in ("bbox", "segm"):
        assert computed[task] == pytest.approx(expected[task], nan_ok=True)
    assert metric.curves["segm"].task == "segm"


def test_instances_and_dicts_say_the_same():
    predictions, targets = random_batch(0)
    of_dicts, of_instances = CocoMetric(("bbox", "segm")), CocoMetric(("bbox", "segm"))
    of_dicts.update(predictions, targets)
    for one, wanted in zip(predictions, targets, strict=True):
        truth = Instances((90, 90), gt_boxes=Boxes(wanted["boxes"]), gt_classes=wanted["labels"])
        truth.gt_masks = BitMasks(wanted["masks"])
        of_instances.update([as_instances(one)], [truth])
    assert of_instances.compute() == of_dicts.compute()


def test_computing_twice_gives_the_same_and_a_reset_forgets():
    metric = CocoMetric()
    metric.update(*random_batch(0))
    first = metric.compute()
    assert metric.compute() == first
    metric.update(*random_batch(1))
    assert metric.compute() != first
    metric.reset()
    metric.update(*random_batch(0))
    assert metric.compute() == first


def test_crowds_are_told_by_the_targets():
    target = {"boxes": [[0, 0, 50, 50]], "labels": [0]}
    inside = {"boxes": [[5.0, 5, 15, 15]], "labels": [0], "scores": [0.9]}
    metric = CocoMetric()
    metric.update([inside], [target])
    assert metric.compute()["bbox"]["AP"] == 0
    metric.reset()
    metric.update([inside], [target | {"iscrowd": [1]}])
    assert math.isnan(metric.compute()["bbox"]["AP"])


def test_keypoints_are_compared():
    points = torch.tensor([[[10.0, 10, 2], [20, 20, 2]]])
    target = {"boxes": [[0, 0, 50, 50]], "labels": [0], "keypoints": points}
    metric = CocoMetric("keypoints", kpt_oks_sigmas=(0.1, 0.1))
    metric.update([target | {"scores": [0.5]}], [target])
    assert metric.compute()["keypoints"]["AP"] == pytest.approx(100)


def test_nothing_at_all_has_no_figures():
    metric = CocoMetric()
    assert math.isnan(metric.compute()["bbox"]["AP"])
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    metric.update([nothing], [nothing])
    assert math.isnan(metric.compute()["bbox"]["AP"])


def compute_in_process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    metric = CocoMetric(class_names=["a", "b", "c"])
    metric.update(*random_batch(rank))
    torch.save(metric.compute(), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_ranks_are_taken_together(tmp_path):
    mp.spawn(compute_in_process, (str(tmp_path),), nprocs=2)
    alone = CocoMetric(class_names=["a", "b", "c"])
    for rank in range(2):
        alone.update(*random_batch(rank))
    main = torch.load(tmp_path / "0.pth", weights_only=True)
    assert main["bbox"] == pytest.approx(alone.compute()["bbox"], nan_ok=True)
    assert torch.load(tmp_path / "1.pth", weights_only=True) == {}


def test_bad_input_is_named():
    metric = CocoMetric(("bbox", "segm"), class_names=["a"])
    target = {"boxes": [[0, 0, 50, 50]], "labels": [1]}
    with pytest.raises(ValueError, match="1 predictions but 2 targets"):
        metric.update([target], [target] * 2)
    with pytest.raises(ValueError, match="a prediction has no 'scores'; it has"):
        metric.update([target], [target])
    with pytest.raises(ValueError, match="scores that are not finite"):
        metric.update([target | {"scores": [math.nan]}], [target])
    metric.update([target | {"scores": [0.5]}], [target])
    with pytest.raises(ValueError, match=r"an object of class 1, but 1 class_names: \['a'\]"):
        metric.compute()
    metric = CocoMetric("segm")
    metric.update([target | {"scores": [0.5]}], [target])
    with pytest.raises(ValueError, match="a target of image 1 has no segmentation"):
        metric.compute()
    with pytest.raises(ValueError, match="tasks are some of"):
        CocoMetric("boxes")
