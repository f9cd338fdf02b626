"""Attributes that subclasses in well-known projects inherit are there, and hold what they did."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from d2_config import get_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import register_coco_instances

pytestmark = pytest.mark.usefixtures("detectron2")

NAME = "inherited_shapes"


@pytest.fixture
def cfg(shapes: Path, tmp_path: Path) -> Iterator[Any]:
    register_coco_instances(NAME, {}, str(shapes / "instances.json"), str(shapes / "images"))
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 1
    cfg.SOLVER.MAX_ITER = 1
    model = cfg.MODEL
    model.DEVICE, model.MASK_ON = "cpu", True
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.RPN.IN_FEATURES = model.ROI_HEADS.IN_FEATURES = ["p4", "p5"]
    model.ROI_HEADS.NAME, model.ROI_BOX_HEAD.NAME = "StandardROIHeads", "FastRCNNConvFCHead"
    model.ROI_HEADS.NUM_CLASSES = 4
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    model.ROI_MASK_HEAD.NUM_CONV, model.ROI_MASK_HEAD.CONV_DIM = 1, 4
    yield cfg
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


class Losses(nn.Linear):
    def forward(self, x: Any) -> Any:
        return {"loss": super().forward(torch.ones(1)).sum()}


def built(cfg: Any, folder: Path) -> dict[str, Any]:
    """An object of each class, by the class's name."""
    import numpy as np
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.data.common import AspectRatioGroupedDataset, MapDataset
    from detectron2.data.dataset_mapper import DatasetMapper
    from detectron2.engine import DefaultPredictor, DefaultTrainer, SimpleTrainer, hooks
    from detectron2.evaluation import COCOEvaluator, SemSegEvaluator
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
    MetadataCatalog.get("segments").set(stuff_classes=["a", "b"], ignore_label=255)
    image = np.zeros((20, 30, 3), np.uint8)
    coco = COCOEvaluator(NAME, output_dir=str(folder))
    coco.reset()
    semantic = SemSegEvaluator("segments", output_dir=str(folder))
    semantic.reset()
    coco_evaluators = {"COCOEvaluator": coco, "SemSegEvaluator": semantic}
    return coco_evaluators | {
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
        "VideoVisualizer": VideoVisualizer(MetadataCatalog.get(NAME)),
        "Visualizer": Visualizer(image, MetadataCatalog.get(NAME)),
    }


def test_what_projects_inherit_is_there(cfg: Any, shared: Path, tmp_path: Path):
    spec = json.loads((shared / "spec" / "compat_names.json").read_text())
    objects = built(cfg, tmp_path)
    missing = []
    for name in spec["inherited_instance_attributes_used"]:
        kind, attribute = name.split(".")[-2:]
        if kind in objects and not hasattr(objects[kind], attribute):
            missing.append(f"{kind}.{attribute}")
    assert missing == []
