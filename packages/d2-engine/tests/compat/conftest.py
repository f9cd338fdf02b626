"""What several test modules need: the compatibility import, programs under it, a small detector."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d2_config import CfgNode, get_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import register_coco_instances
from d2_engine import compat

Run = Callable[..., str]


@pytest.fixture
def detectron2() -> Iterator[None]:
    """``detectron2`` is importable in a test, and no longer behind it."""
    compat.install()
    yield
    compat.uninstall()


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """Runs Python with arguments in a folder of its own and returns what it printed."""

    def run(*arguments: str, fails: bool = False) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def dataset(shapes: Path) -> Iterator[str]:
    """The name under which the tiny dataset is registered."""
    name = "compat_shapes"
    register_coco_instances(name, {}, str(shapes / "instances.json"), str(shapes / "images"))
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def cfg(dataset: str) -> CfgNode:
    """A Mask R-CNN as small as it gets, for the tiny dataset."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (dataset,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TEST = 64
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
    return cfg
