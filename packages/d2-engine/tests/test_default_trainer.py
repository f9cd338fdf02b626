"""Training what a yacs-style config describes."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from d2_config import get_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import coco_folder, register_coco_instances
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.defaults import DefaultPredictor, DefaultTrainer, default_setup
from d2_engine.hooks import CallbackHook
from d2_engine.trainers import AMPTrainer
from d2_eval import COCOEvaluator, DatasetEvaluator

NAME = "default_trainer_shapes"


class ShapesTrainer(DefaultTrainer):
    """As users write it: with an evaluator."""

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)


class TwoWeights(nn.Module):
    """The smallest thing that trains."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, batch):
        return {"loss": (self.weight * batch).square().sum()}


class TinyTrainer(DefaultTrainer):
    """A trainer of two weights, for what does not depend on the model."""

    @classmethod
    def build_model(cls, cfg):
        return TwoWeights()

    @classmethod
    def build_train_loader(cls, cfg):
        return [torch.full((2,), 1.0 + step) for step in range(100)]


@pytest.fixture(scope="module")
def dataset(shapes):
    register_coco_instances(NAME, {}, str(shapes / "instances.json"), str(shapes / "images"))
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.SEED = 1
    cfg.SOLVER.MAX_ITER = 4
    cfg.SOLVER.STEPS = (3,)
    cfg.SOLVER.BASE_LR = 0.001
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    return cfg


@pytest.fixture
def detector_cfg(cfg, dataset):
    """A Faster R-CNN as small as it gets."""
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (dataset,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.MAX_ITER = 2
    cfg.SOLVER.STEPS = ()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.update(DEPTH=18, RES2_OUT_CHANNELS=64, OUT_FEATURES=["res3", "res4", "res5"])
    cfg.MODEL.FPN.update(IN_FEATURES=["res3", "res4", "res5"], OUT_CHANNELS=16)
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [48], [64]]
    cfg.MODEL.RPN.update(IN_FEATURES=["p3", "p4", "p5", "p6"], POST_NMS_TOPK_TEST=20)
    cfg.MODEL.ROI_HEADS.update(
        NAME="StandardROIHeads", IN_FEATURES=["p3", "p4"], NUM_CLASSES=4, BATCH_SIZE_PER_IMAGE=8
    )
    cfg.MODEL.ROI_BOX_HEAD.update(
        NAME="FastRCNNConvFCHead", NUM_FC=1, FC_DIM=16, POOLER_RESOLUTION=7
    )
    cfg.TEST.DETECTIONS_PER_IMAGE = 5
    return cfg


def test_a_detector_is_trained_evaluated_and_used(detector_cfg, tmp_path):
    default_setup(detector_cfg, None)
    trainer = ShapesTrainer(detector_cfg)
    trainer.resume_or_load(resume=False)
    before = trainer.model.roi_heads.box_predictor.cls_score.weight.detach().clone()
    results = trainer.train()
    assert not torch.equal(before, trainer.model.roi_heads.box_predictor.cls_score.weight)
    assert set(results) == {"bbox"}
    assert (tmp_path / "model_final.pth").is_file()
    assert (tmp_path / "config.yaml").read_text() == detector_cfg.dump()
    metrics = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    losses = [line["total_loss"] for line in metrics if "total_loss" in line]
    assert losses
    assert all(map(math.isfinite, losses))

    detector_cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    predictor = DefaultPredictor(detector_cfg)
    assert predictor.metadata.thing_classes == MetadataCatalog.get(NAME).thing_classes
    instances = predictor(np.zeros((48, 80, 3), np.uint8))["instances"]
    assert instances.image_size == (48, 80)


def test_a_resumed_training_equals_one_that_was_never_stopped(cfg, tmp_path):
    whole = TinyTrainer(cfg)
    whole.resume_or_load()
    whole.train()

    cfg.OUTPUT_DIR = str(tmp_path / "parts")
    cut = cfg.clone()
    cut.SOLVER.MAX_ITER = 2
    TinyTrainer(cut).train()
    resumed = TinyTrainer(cfg)
    resumed.resume_or_load()
    assert resumed.start_iter == 2
    resumed.train()
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert resumed.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]


def test_without_resuming_training_begins_with_the_weights_of_the_config(cfg, tmp_path):
    trainer = TinyTrainer(cfg)
    trainer.train()
    DetectionCheckpointer(TwoWeights(), tmp_path / "start").save("start")
    cfg.MODEL.WEIGHTS = str(tmp_path / "start" / "start.pth")
    again = TinyTrainer(cfg)
    again.resume_or_load(resume=False)
    assert again.start_iter == 0
    assert torch.equal(again.model.weight, torch.ones(2))


def test_hooks_see_the_gradients_before_the_update(cfg):
    class Looks(CallbackHook):
        def after_backward(self):
            seen.append(self.trainer.model.weight.grad.clone())

    seen: list[torch.Tensor] = []
    trainer = TinyTrainer(cfg)
    trainer.register_hooks([Looks()])
    trainer.train()
    assert len(seen) == 4
    assert torch.equal(seen[0], torch.full((2,), 2.0))


def test_mixed_precision_is_used_where_the_config_says_so(cfg):
    cfg.SOLVER.AMP.ENABLED = True
    assert isinstance(TinyTrainer(cfg)._trainer, AMPTrainer)


def test_without_an_evaluator_training_goes_without_evaluation(detector_cfg, caplog):
    results = DefaultTrainer.test(detector_cfg, nn.Linear(1, 1))
    assert results == {}
    assert "is not evaluated: training goes without evaluation" in caplog.text


def test_evaluators_have_to_be_as_many_as_datasets(detector_cfg):
    detector_cfg.DATASETS.TEST = (NAME, NAME)
    with pytest.raises(ValueError, match="1 evaluators for 2 datasets"):
        DefaultTrainer.test(detector_cfg, nn.Linear(1, 1), [DatasetEvaluator()])


def test_a_validation_set_of_other_classes_is_not_scored_as_if_equal(
    detector_cfg, shapes, tmp_path
):
    content = json.loads((shapes / "instances.json").read_text())
    content["categories"][0]["name"] = "blob"
    (tmp_path / "other.json").write_text(json.dumps(content))
    detector_cfg.DATASETS.TEST = (coco_folder(tmp_path / "other.json", shapes / "images"),)
    trainer = ShapesTrainer(detector_cfg)
    with pytest.raises(ValueError, match=r"has the classes blob, .* has ellipse, "):
        ShapesTrainer.test(detector_cfg, trainer.model)


def test_data_of_more_classes_than_the_model_has_is_refused(detector_cfg):
    detector_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 2, but the data .* has 4"):
        ShapesTrainer(detector_cfg)


def test_a_config_without_a_seed_gets_one_for_the_whole_training(detector_cfg):
    detector_cfg.SEED = -1
    trainer = ShapesTrainer(detector_cfg)
    assert trainer.cfg.SEED >= 0
    assert detector_cfg.SEED == -1


def test_what_the_config_expects_is_compared_with_the_results(cfg):
    class Evaluated(TinyTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"bbox": {"AP": 1.0}}

    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 40.0, 1.0]]
    with pytest.raises(ValueError, match="bbox/AP is 1.0, wanted 40.0"):
        Evaluated(cfg).train()


def test_a_lazy_config_is_refused():
    with pytest.raises(TypeError, match="wants a yacs-style config"):
        DefaultTrainer({"MODEL": {}})
