"""The ``d2`` command with yacs-style configs."""

import json
from pathlib import Path

import pytest

from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import register_coco_instances
from d2_engine.cli import main
from d2_engine.run_folder import load_config, load_config_to_use
from d2_engine.yacs_run import DetectionTrainer
from d2_eval import SemSegEvaluator

NAME = "yacs_run_shapes"


@pytest.fixture(scope="module")
def config(shapes, tmp_path_factory) -> Path:
    """A tiny Faster R-CNN as a YAML file."""
    register_coco_instances(NAME, {}, str(shapes / "instances.json"), str(shapes / "images"))
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(
        f"""
VERSION: 2
SEED: 1
MODEL:
  BACKBONE: {{NAME: build_resnet_fpn_backbone, FREEZE_AT: 0}}
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5]}}
  FPN: {{IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 16}}
  ANCHOR_GENERATOR: {{SIZES: [[16], [32], [48], [64]]}}
  RPN: {{IN_FEATURES: [p3, p4, p5, p6], POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS:
    NAME: StandardROIHeads
    IN_FEATURES: [p3, p4, p5]
    NUM_CLASSES: 4
    BATCH_SIZE_PER_IMAGE: 8
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 16, POOLER_RESOLUTION: 7}}
DATASETS: {{TRAIN: [{NAME}], TEST: [{NAME}]}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 2, STEPS: [], BASE_LR: 0.001}}
"""
    )
    yield path
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> Path:
    """The folder of a training run."""
    folder = tmp_path_factory.mktemp("run") / "out"
    arguments = [config, "--output", folder, "SOLVER.BASE_LR=0.0005"]
    assert main(["train", *map(str, arguments)]) == 0
    return folder


def test_training_writes_its_folder(run):
    for name in ("config.yaml", "metadata.json", "metrics.json", "model_final.pth", "log.txt"):
        assert (run / name).is_file(), name
    assert load_config(run).SOLVER.BASE_LR == 0.0005


def test_the_run_is_evaluated_and_used_where_it_is(run, shapes, tmp_path, capfd):
    assert main(["eval", str(run), "--output", str(tmp_path / "eval")]) == 0
    assert "bbox" in capfd.readouterr().out
    out = tmp_path / "predictions"
    pictures = str(shapes / "images")
    arguments = [pictures, "--run", str(run), "--output", str(out), "--threshold", "0"]
    assert main(["predict", *arguments]) == 0
    written = json.loads((out / "predictions.json").read_text())
    assert len(written["images"]) == len(list((shapes / "images").iterdir()))
    assert [c["name"] for c in written["categories"]] == MetadataCatalog.get(NAME).thing_classes


def test_a_folder_that_holds_a_run_is_not_mixed_with_another(run, config, capfd):
    assert main(["train", str(config), "--output", str(run)]) == 1
    assert "already holds a training run" in capfd.readouterr().err


def test_a_run_is_resumed(run, config):
    arguments = ["train", str(config), "--output", str(run), "--resume", "SOLVER.MAX_ITER=3"]
    assert main(arguments) == 0
    lines = (run / "metrics.json").read_text().splitlines()
    assert max(json.loads(line)["iteration"] for line in lines) >= 2


def test_an_unknown_key_is_named(config, capfd):
    assert main(["train", str(config), "SOLVER.BASE_LRR=1"]) == 1
    assert "Did you mean SOLVER.BASE_LR" in capfd.readouterr().err


def test_a_packaged_config_is_used_with_its_published_weights():
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
    assert load_config_to_use(name, None).MODEL.WEIGHTS.endswith("/model_final_f10217.pkl")
    assert load_config_to_use(name, "mine.pth").MODEL.WEIGHTS == "mine.pth"


@pytest.fixture
def other_dataset():
    """Metadata of a dataset that is not COCO's."""
    metadata = MetadataCatalog.get("yacs_run_other")
    yield metadata
    MetadataCatalog.remove("yacs_run_other")


def test_semantic_data_is_evaluated_as_such(config, other_dataset):
    other_dataset.set(evaluator_type="sem_seg", stuff_classes=["a", "b"])
    evaluator = DetectionTrainer.build_evaluator(load_config(config), other_dataset.name)
    assert isinstance(evaluator, SemSegEvaluator)


def test_data_of_an_unknown_kind_is_not_evaluated(config, other_dataset):
    other_dataset.evaluator_type = "something"
    with pytest.raises(NotImplementedError, match="overwrite build_evaluator"):
        DetectionTrainer.build_evaluator(load_config(config), other_dataset.name)
