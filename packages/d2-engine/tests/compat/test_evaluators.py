"""Evaluators whose steps subclasses overwrite, as projects for detectron2 do."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import d2_eval
from d2_config import get_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_engine.compat.shims.coco_evaluation import _evaluate_predictions_on_coco
from d2_engine.compat.shims.evaluators import COCOEvaluator, LVISEvaluator, SemSegEvaluator
from d2_structures import Boxes, Instances


@pytest.fixture
def dataset(dataset: str) -> str:
    DatasetCatalog.get(dataset)  # declares the classes
    return dataset


def predictions(shapes: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and outputs: the ground truth, found with falling scores, some of it missed."""
    content = json.loads((shapes / "instances.json").read_text())
    ids = sorted(category["id"] for category in content["categories"])
    pairs = []
    for image in content["images"]:
        truths = [a for a in content["annotations"] if a["image_id"] == image["id"]][1:]
        found = Instances((image["height"], image["width"]))
        boxes = torch.tensor([a["bbox"] for a in truths]).view(-1, 4)
        found.pred_boxes = Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1))
        found.scores = torch.linspace(0.9, 0.1, len(truths))
        found.pred_classes = torch.tensor(
            [ids.index(a["category_id"]) for a in truths], dtype=torch.int64
        )
        pairs.append(({"image_id": image["id"]}, {"instances": found}))
    return pairs


def evaluate(evaluator: Any, pairs: Any) -> Any:
    evaluator.reset()
    for record, output in pairs:
        evaluator.process([record], [output])
    return evaluator.evaluate()


class Official(COCOEvaluator):
    """With the steps of detectron2 written out, as evaluators of instance segmentation do."""

    def _eval_predictions(self, predictions: Any, img_ids: Any = None) -> None:
        self._logger.info("Preparing results for COCO format ...")
        coco_results = list(itertools.chain(*[x["instances"] for x in predictions]))
        tasks = self._tasks or self._tasks_from_predictions(coco_results)
        if hasattr(self._metadata, "thing_dataset_id_to_contiguous_id"):
            reverse = {v: k for k, v in self._metadata.thing_dataset_id_to_contiguous_id.items()}
            for result in coco_results:
                result["category_id"] = reverse[result["category_id"]]
        if self._output_dir:
            Path(self._output_dir, "mine.json").write_text(json.dumps(coco_results))
        if not self._do_evaluation:
            return
        for task in sorted(tasks):
            coco_eval = _evaluate_predictions_on_coco(
                self._coco_api,
                coco_results,
                task,
                kpt_oks_sigmas=self._kpt_oks_sigmas,
                use_fast_impl=self._use_fast_impl,
                img_ids=img_ids,
                max_dets_per_image=self._max_dets_per_image,
            )
            self._results[task] = self._derive_coco_results(
                coco_eval, task, class_names=self._metadata.get("thing_classes")
            )


@pytest.mark.parametrize("limit", [None, 20])
def test_the_steps_written_out_give_the_scores_of_d2(
    dataset: str, shapes: Path, tmp_path: Path, limit: int | None
):
    pairs = predictions(shapes)
    options = {"output_dir": str(tmp_path), "max_dets_per_image": limit}
    official = evaluate(Official(dataset, **options), pairs)
    ours = evaluate(d2_eval.COCOEvaluator(dataset, **options), pairs)
    assert 0 < ours["bbox"]["AP"] < 100
    assert official["bbox"] == pytest.approx(ours["bbox"], nan_ok=True)
    assert json.loads((tmp_path / "mine.json").read_text())


def test_scores_of_ones_own_are_added(dataset: str, shapes: Path):
    class Counted(COCOEvaluator):
        def _derive_coco_results(self, coco_eval: Any, iou_type: str, class_names: Any = None):
            results = super()._derive_coco_results(coco_eval, iou_type, class_names)
            return {**results, "images": len(coco_eval.params.imgIds)}

    results = evaluate(Counted(dataset), predictions(shapes))
    ours = evaluate(d2_eval.COCOEvaluator(dataset), predictions(shapes))
    assert results["bbox"].pop("images") == 12
    assert results["bbox"] == pytest.approx(ours["bbox"], nan_ok=True)


def test_an_evaluator_that_is_not_overwritten_is_that_of_d2(dataset: str, shapes: Path):
    pairs = predictions(shapes)
    ours = evaluate(d2_eval.COCOEvaluator(dataset), pairs)
    found = evaluate(COCOEvaluator(dataset), pairs)
    assert found["bbox"] == pytest.approx(ours["bbox"], nan_ok=True)


def test_predictions_are_kept_by_a_process_of_ones_own(dataset: str, shapes: Path):
    class Best(COCOEvaluator):
        def reset(self) -> None:
            self._predictions = []

        def process(self, inputs: Any, outputs: Any) -> None:
            for record, output in zip(inputs, outputs, strict=True):
                prediction = {"image_id": record["image_id"]}
                instances = output["instances"].to(self._cpu_device)
                prediction["instances"] = d2_eval.instances_to_coco_json(
                    instances[:1], record["image_id"]
                )
                self._predictions.append(prediction)

    best = evaluate(Best(dataset), predictions(shapes))
    assert best["bbox"]["AP"] < evaluate(COCOEvaluator(dataset), predictions(shapes))["bbox"]["AP"]


def test_proposals_are_evaluated_by_a_step_of_ones_own(dataset: str, shapes: Path):
    class Counted(COCOEvaluator):
        def _eval_box_proposals(self, predictions: Any) -> None:
            self._results["box_proposals"] = {"count": len(predictions)}

    pairs = []
    for record, output in predictions(shapes):
        proposals = Instances(output["instances"].image_size)
        proposals.proposal_boxes = output["instances"].pred_boxes
        proposals.objectness_logits = output["instances"].scores
        pairs.append((record, {"proposals": proposals}))
    assert evaluate(Counted(dataset), pairs) == {"box_proposals": {"count": 12}}


def test_a_config_in_place_of_the_tasks_is_accepted(dataset: str, shapes: Path):
    evaluator = COCOEvaluator(dataset, get_cfg(), False, None)
    assert evaluator._tasks is None
    assert evaluator._metadata is MetadataCatalog.get(dataset)
    assert "AP" in evaluate(evaluator, predictions(shapes))["bbox"]


def test_nothing_found_has_no_score(dataset: str):
    derived = COCOEvaluator(dataset)._derive_coco_results(None, "keypoints")
    assert set(derived) == {"AP", "AP50", "AP75", "APm", "APl"}
    assert all(math.isnan(value) for value in derived.values())


def test_lvis_is_evaluated_by_a_step_of_ones_own(dataset: str, shapes: Path):
    class Counted(LVISEvaluator):
        def _eval_predictions(self, predictions: Any) -> None:  # type: ignore[override]
            results = [entry for image in predictions for entry in image["instances"]]
            self._results["bbox"] = {"count": len(results)}
            assert self._tasks_from_predictions(results) == ("bbox",)
            assert len(self._lvis_api.dataset["images"]) == 12

    pairs = predictions(shapes)
    count = sum(len(output["instances"]) for _, output in pairs)
    evaluator = Counted(dataset)
    assert evaluate(evaluator, pairs) == {"bbox": {"count": count}}


@pytest.fixture
def segments(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    records = []
    for index in range(3):
        labels = np.full((4, 6), index, np.uint8)
        labels[0] = 255
        path = str(tmp_path / f"{index}.png")
        Image.fromarray(labels).save(path)
        records.append({"file_name": f"{index}.jpg", "sem_seg_file_name": path})
    DatasetCatalog.register("segments", lambda: records)
    MetadataCatalog.get("segments").set(stuff_classes=["a", "b", "c"], ignore_label=255)
    yield records
    DatasetCatalog.remove("segments")
    MetadataCatalog.remove("segments")


class OwnPixels(SemSegEvaluator):
    """Counts as detectron2's evaluator does."""

    def process(self, inputs: Any, outputs: Any) -> None:
        for record, output in zip(inputs, outputs, strict=True):
            pred = output["sem_seg"].argmax(dim=0).to(self._cpu_device).numpy()
            path = self.input_file_to_gt_file[record["file_name"]]
            gt = np.array(Image.open(path), dtype=int)
            gt[gt == self._ignore_label] = self._num_classes
            self._conf_matrix += np.bincount(
                (self._num_classes + 1) * pred.reshape(-1) + gt.reshape(-1),
                minlength=self._conf_matrix.size,
            ).reshape(self._conf_matrix.shape)
            self._predictions.extend(self.encode_json_sem_seg(pred, record["file_name"]))


def test_pixels_are_counted_by_a_process_of_ones_own(segments: list[dict[str, Any]]):
    scores = torch.zeros(3, 4, 6)
    scores[1, :, :3], scores[0, :, 3:] = 1, 1
    pairs = [(record, {"sem_seg": scores}) for record in segments]
    wanted = evaluate(d2_eval.SemSegEvaluator("segments"), pairs)
    own = OwnPixels("segments")
    assert evaluate(own, pairs) == wanted
    assert len(own._predictions) == 6
    usual = SemSegEvaluator("segments")
    assert evaluate(usual, pairs) == wanted
    assert (usual._conf_matrix[:-1, :-1] == own._conf_matrix[:-1, :-1]).all()
    assert usual.evaluate() == wanted


def test_the_official_evaluation_is_run_on_results():
    from pycocotools.coco import COCO

    truth = COCO()
    box = [10.0, 10, 20, 20]
    truth.dataset = {
        "images": [{"id": 1, "height": 50, "width": 50}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 400, "iscrowd": 0}
        ],
        "info": {},
    }
    truth.createIndex()
    results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.5}]
    evaluated = _evaluate_predictions_on_coco(
        truth, results, "bbox", img_ids=[1], max_dets_per_image=[1, 10, 100]
    )
    assert evaluated.stats[0] == pytest.approx(1.0)
    keypoints = [{"image_id": 1, "category_id": 1, "keypoints": [1.0, 1, 1], "score": 0.5}]
    with pytest.raises(ValueError, match="1 keypoints, and there are 17"):
        _evaluate_predictions_on_coco(truth, keypoints, "keypoints")
