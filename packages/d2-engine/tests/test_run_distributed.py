"""One run on one, two and four processes: replicated, divided, and started again.

The detector is a region proposal network on a small vision transformer whose losses take all
anchors. Nothing in it is drawn at random and its losses are means over images, so that a step of
several processes is the step of one with all their images, up to rounding. Heads that sample
regions would take others in each process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from d2_data.datasets import coco_folder

_CONFIG = """
from functools import partial
import torch
from d2_config import LazyCall as L, LazyConfig
from d2_engine.model_zoo import get_config_file
from d2_modeling.backbone import SimpleFeaturePyramid, ViT, transformer_layer_norm
from d2_modeling.meta_arch import ProposalNetwork
from d2_engine.solver import get_default_optimizer_params

_base = LazyConfig.load(get_config_file("quickstart/mask_rcnn_shapes.py"))
dataloader, train, lr_multiplier = _base.dataloader, _base.train, _base.lr_multiplier
for _part in (dataloader.train, dataloader.test):
    _part.dataset.names = {data!r}
    _part.mapper.augmentations = [_part.mapper.augmentations[0]]
    _part.mapper.augmentations[0].short_edge_length = 64
dataloader.train.total_batch_size = 4

model = L(ProposalNetwork)(
    backbone=L(SimpleFeaturePyramid)(
        net=L(ViT)(
            img_size=64, patch_size=8, embed_dim=16, depth=3, num_heads=2, window_size=4,
            window_block_indexes=[0], norm_layer=transformer_layer_norm, drop_path_rate=0.0,
            out_feature="last_feat",
        ),
        in_feature="last_feat", out_channels=8, scale_factors=[2.0, 1.0, 0.5], norm="LN",
        square_pad=64,
    ),
    proposal_generator=_base.model.proposal_generator,
    pixel_mean=_base.model.pixel_mean,
    pixel_std=_base.model.pixel_std,
)
_rpn = model.proposal_generator
_rpn.in_features = ["p2", "p3", "p4"]
_rpn.head.in_channels = 8
_rpn.head.num_anchors = 3
_rpn.anchor_generator.sizes = [[16], [32], [48]]
_rpn.anchor_generator.strides = [4, 8, 16]
_rpn.batch_size_per_image = 100000
_rpn.post_nms_topk = (50, 30)

optimizer = L(torch.optim.AdamW)(
    params=L(get_default_optimizer_params)(), lr=1e-3, weight_decay=0.05
)
train.seed = 3
train.max_iter = 4
train.log_period = 1
train.device = "cpu"
train.checkpointer.period = 2
train.ema_decay = 0.9
train.clip_gradients = dict(enabled=True, clip_type="full_model", clip_value=0.5)
"""

_KILL = """
import os, signal
from pathlib import Path
from d2_engine import SimpleTrainer

_step = SimpleTrainer.run_step

def run_step(self):
    killed = Path(os.environ["KILLED"])
    if self.iter == 3 and os.environ["RANK"] == "1" and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    _step(self)

SimpleTrainer.run_step = run_step
"""


@pytest.fixture(scope="module")
def config(shapes, tmp_path_factory):
    path = tmp_path_factory.mktemp("vit") / "vit.py"
    data = coco_folder(shapes / "instances.json", shapes / "images")
    path.write_text(_CONFIG.replace("{data!r}", repr(data)))
    return path


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The folder of the run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    run("d2_engine", "train", config, "--output", folder)
    return folder


def metrics(folder: Path, name: str) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {line["iteration"]: line[name] for line in lines if name in line}


def checkpoint(folder: Path, name: str = "model_final.pth") -> dict:
    return torch.load(folder / name, weights_only=True)


def assert_same_run(folder: Path, alone: Path) -> None:
    """Losses, weights, averages, moments and proposals, up to the order of sums."""
    for name in ("total_loss", "loss_rpn_cls", "loss_rpn_loc"):
        found, expected = metrics(folder, name), metrics(alone, name)
        assert list(expected) == [0, 1, 2, 3]
        assert found == pytest.approx(expected, rel=1e-4)
    mine, its = checkpoint(folder), checkpoint(alone)
    assert mine["model"].keys() == its["model"].keys()
    for name, value in its["model"].items():
        assert type(mine["model"][name]) is torch.Tensor
        assert torch.allclose(mine["model"][name], value, atol=2e-4), name
    states = [c["trainer"]["optimizer"]["state"] for c in (mine, its)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[1].items():
        assert states[0][number]["exp_avg"].shape == state["exp_avg"].shape
        assert torch.allclose(states[0][number]["exp_avg"], state["exp_avg"], atol=1e-4)
    last = "box_proposals/AR@100"
    assert metrics(folder, last) == pytest.approx(metrics(alone, last), abs=2)


@pytest.mark.parametrize(("sharding", "processes"), [("none", 4), ("fsdp", 2)])
def test_several_processes_train_as_one_with_all_their_images(
    sharding, processes, config, alone, tmp_path
):
    words = ["train", config, "--output", tmp_path, "--num-gpus", processes]
    run("d2_engine", *words, f"train.sharding={sharding}")
    assert_same_run(tmp_path, alone)


def test_a_divided_run_goes_on_in_another_number_of_processes(config, alone, tmp_path):
    words = ["d2_engine", "train", config, "--output", tmp_path]
    run(*words, "train.sharding=fsdp", "--num-gpus", 2)
    for name in ("model_0000003.pth", "model_final.pth"):
        (tmp_path / name).unlink()
    lines = (tmp_path / "metrics.json").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.json").write_text("".join(lines[:2]))
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    run(*words, "--resume")
    assert_same_weights(tmp_path, alone)
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    run(*words, "--resume", "train.sharding=fsdp", "--num-gpus", 2)
    assert_same_weights(tmp_path, alone)


def assert_same_weights(folder: Path, alone: Path) -> None:
    mine, its = checkpoint(folder)["model"], checkpoint(alone)["model"]
    assert all(torch.allclose(mine[name], its[name], atol=2e-4) for name in its)


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_torchrun_starts_a_killed_run_again_from_its_last_checkpoint(
    sharding, config, alone, tmp_path
):
    (tmp_path / "kill.py").write_text(_KILL)
    folder = tmp_path / "run"
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    words = ["-m", "d2_engine", "train", config, "--output", folder, "--resume"]
    run(
        *(*torchrun, *words, "--import", tmp_path / "kill.py", f"train.sharding={sharding}"),
        KILLED=str(tmp_path / "killed"),
    )
    assert (tmp_path / "killed").exists()
    assert "Loading checkpoint" in (folder / "log.txt").read_text()
    assert list(metrics(folder, "total_loss")) == [0, 1, 2, 3]
    assert_same_weights(folder, alone)
