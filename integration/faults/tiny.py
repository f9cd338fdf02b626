"""A training that takes seconds, in each kind of config."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from d2_data.datasets import coco_folder
from d2_data.datasets.shapes import generate_shapes

KINDS = ("yaml", "lazy")
ITERATIONS = 40

_COMMAND = [sys.executable, "-c", "from d2_engine.cli import main; raise SystemExit(main())"]
_OF_A_CLOCK = re.compile(r"time|eta|seconds|memory|images_per|_mem")

_YAML = """
VERSION: 2
SEED: 1
MODEL:
  DEVICE: cpu
  BACKBONE: {{NAME: build_resnet_fpn_backbone, FREEZE_AT: 0}}
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5], NORM: FrozenBN}}
  FPN: {{IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 16}}
  ANCHOR_GENERATOR: {{SIZES: [[16], [32], [48], [64]]}}
  RPN: {{IN_FEATURES: [p3, p4, p5, p6], POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS:
    NAME: StandardROIHeads
    IN_FEATURES: [p3, p4, p5]
    NUM_CLASSES: 4
    BATCH_SIZE_PER_IMAGE: 8
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 16, POOLER_RESOLUTION: 7}}
DATASETS: {{TRAIN: [{data!r}], TEST: [{data!r}]}}
DATALOADER: {{NUM_WORKERS: {workers}}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}}
SOLVER:
  IMS_PER_BATCH: 2
  MAX_ITER: {iterations}
  STEPS: []
  BASE_LR: 0.001
  CHECKPOINT_PERIOD: 4
TEST: {{DETECTIONS_PER_IMAGE: 20}}
"""

_LAZY = """
from d2_config import LazyConfig
from d2_engine.model_zoo import get_config_file

_base = LazyConfig.load(get_config_file("quickstart/mask_rcnn_shapes.py"))
dataloader, model, optimizer = _base.dataloader, _base.model, _base.optimizer
train, lr_multiplier = _base.train, _base.lr_multiplier
for _part in (dataloader.train, dataloader.test):
    _part.dataset.names = {data!r}
    _part.mapper.augmentations[0].short_edge_length = 64
dataloader.train.total_batch_size = 2
dataloader.train.num_workers = {workers}
train.max_iter = {iterations}
train.seed = 1
train.log_period = 1
train.device = "cpu"
train.checkpointer.period = 4
model.proposal_generator.post_nms_topk = (50, 30)
model.roi_heads.batch_size_per_image = 8
"""


class Training:
    """One kind of training in a folder of its own.

    Args:
        folder: for the data, the config and the runs.
        kind: of config, one of ``KINDS``.
        processes: that train together.
        workers: that load data, of each.
        iterations: to the end.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        processes: int = 1,
        workers: int = 0,
        iterations: int = ITERATIONS,
    ) -> None:
        self.folder = folder
        self._processes = processes
        data = folder / "data"
        if not data.is_dir():
            generate_shapes(data, 12, image_size=64, seed=3)
        name = coco_folder(data / "instances.json", data / "images")
        text = {"yaml": _YAML, "lazy": _LAZY}[kind]
        self.config = folder / {"yaml": "tiny.yaml", "lazy": "tiny.py"}[kind]
        self.config.write_text(text.format(data=name, workers=workers, iterations=iterations))

    def arguments(self, run: Path, *more: str) -> list[str]:
        """What to give to ``d2``."""
        processes = ["--num-gpus", str(self._processes)]
        return ["train", str(self.config), "--output", str(run), *processes, *more]

    def start(self, run: Path, *more: str, **how: Any) -> subprocess.Popen[str]:
        """Start it; its messages can be read from ``stderr``."""
        return subprocess.Popen(
            [*_COMMAND, *self.arguments(run, *more)],
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **how},
        )

    def finish(self, run: Path, *more: str, **how: Any) -> tuple[int, str]:
        """Let it run to its end; returns the exit code and the last line."""
        process = self.start(run, *more, **how)
        lines = process.communicate()[1].splitlines()
        return process.returncode, lines[-1] if lines else ""


def differences(run: Path, uninterrupted: Path) -> list[str]:
    """Return which of weights, optimizer and metrics differ between two finished runs."""
    ours, theirs = (
        torch.load(folder / "model_final.pth", weights_only=True) for folder in (run, uninterrupted)
    )
    found = [
        part
        for part in ("model", "optimizer")
        if not _equal(_find(ours, part), _find(theirs, part))
    ]
    if _metrics(run) != _metrics(uninterrupted):
        found.append("metrics")
    return found


def _find(checkpoint: Any, part: str) -> Any:
    if isinstance(checkpoint, dict):
        if part in checkpoint:
            return checkpoint[part]
        for value in checkpoint.values():
            if (inner := _find(value, part)) is not None:
                return inner
    return None


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(_equal(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    return bool(ours == theirs)


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.json").read_text().splitlines())
    return [{k: v for k, v in line.items() if not _OF_A_CLOCK.search(k)} for line in lines]
