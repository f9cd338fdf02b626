"""Attributes that subclasses in well-known projects inherit are there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode
from d2_data import MetadataCatalog

pytestmark = pytest.mark.usefixtures("detectron2")

SEGMENTS = "inherited_segments"


@pytest.fixture
def cfg(cfg: CfgNode, tmp_path: Path) -> CfgNode:
    """For a training of one iteration with one picture."""
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.SOLVER.IMS_PER_BATCH = cfg.SOLVER.MAX_ITER = 1
    return cfg


class Losses(nn.Linear):
    def forward(self, x: Any) -> Any:
        return {"loss": super().forward(torch.ones(1)).sum()}


def built(cfg: CfgNode, dataset: str, folder: Path) -> dict[str, Any]:
    """An object of each class, by the class's name."""
    import numpy as np
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.data.common import AspectRatioGroupedDataset, MapDataset
    from detectron2.data.dataset_mapper import DatasetMapper
    from detectron2.engine import DefaultPredictor, DefaultTrainer, SimpleTrainer, hooks
    from detectron2.evaluation import COCOEvaluator, LVISEvaluator, SemSegEvaluator
    from detectron2.layers import CNNBlockBase
    from detectron2.modeling import build_model
    from detectron2.utils.events import CommonMetricPrinter
    from detectron2.utils.video_visualizer import VideoVisualizer
    from detectron2.utils.visualizer import Visualizer

    model = build_model(cfg)
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    cascade = cfg.clone()
    cascade.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    cascade.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    predicting = cfg.clone()
    predicting.MODEL.WEIGHTS = str(folder / "weights.pth")
    trainer = DefaultTrainer(cfg)
    trainer.train()
    linear = Losses(1, 1)
    simple = SimpleTrainer(linear, [0, 0], torch.optim.SGD(linear.parameters(), lr=1e-3))
    simple.train(0, 1)
    MetadataCatalog.get(SEGMENTS).set(stuff_classes=["a", "b"], ignore_label=255)
    image = np.zeros((20, 30, 3), np.uint8)
    evaluators = {
        "COCOEvaluator": COCOEvaluator(dataset, output_dir=str(folder)),
        "LVISEvaluator": LVISEvaluator(dataset, output_dir=str(folder)),
        "SemSegEvaluator": SemSegEvaluator(SEGMENTS, output_dir=str(folder)),
    }
    for evaluator in evaluators.values():
        evaluator.reset()
    return evaluators | {
        "AspectRatioGroupedDataset": AspectRatioGroupedDataset([], 2),
        "CNNBlockBase": CNNBlockBase(3, 4, 1),
        "CascadeROIHeads": build_model(cascade).roi_heads,
        "CommonMetricPrinter": CommonMetricPrinter(5),
        "DatasetMapper": DatasetMapper(cfg, is_train=True),
        "DefaultPredictor": DefaultPredictor(predicting),
        "DefaultTrainer": trainer,
        "DetectionCheckpointer": DetectionCheckpointer(model),
        "EvalHook": hooks.EvalHook(3, dict),
        "FastRCNNOutputLayers": model.roi_heads.box_predictor,
        "GeneralizedRCNN": model,
        "MapDataset": MapDataset([1, 2], str),
        "PeriodicCheckpointer": hooks.PeriodicCheckpointer(trainer.checkpointer, 3),
        "ROIPooler": model.roi_heads.box_pooler,
        "RPN": model.proposal_generator,
        "SimpleTrainer": simple,
        "StandardROIHeads": model.roi_heads,
        "TrainerBase": simple,
        "VideoVisualizer": VideoVisualizer(MetadataCatalog.get(dataset)),
        "Visualizer": Visualizer(image, MetadataCatalog.get(dataset)),
    }


def test_what_projects_inherit_is_there(cfg: CfgNode, dataset: str, shared: Path, tmp_path: Path):
    spec = json.loads((shared / "spec" / "compat_names.json").read_text())
    objects = built(cfg, dataset, tmp_path)
    MetadataCatalog.remove(SEGMENTS)
    used = [name.split(".")[-2:] for name in spec["inherited_instance_attributes_used"]]
    missing = [
        f"{kind}.{attribute}"
        for kind, attribute in used
        if not hasattr(objects.get(kind), attribute)
    ]
    assert missing == ["Instances.merge"]  # a method of one project, by its own name
