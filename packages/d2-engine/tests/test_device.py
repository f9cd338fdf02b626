"""Training on a CUDA device: precision, memory format, processes, checkpoints, loading."""

import copy
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from d2_config import get_cfg
from d2_data import DatasetCatalog, DatasetMapper, build_detection_train_loader
from d2_data.datasets import coco_folder
from d2_data.datasets.shapes import generate_shapes
from d2_data.transforms import ResizeShortestEdge
from d2_engine import AMPTrainer, SimpleTrainer, launch
from d2_engine.checkpoint import Checkpointer
from d2_engine.loss_readout import LossReadout
from d2_modeling import build_model
from d2_structures import Boxes, Instances

pytestmark = pytest.mark.gpu

SIZE = (64, 96)


@pytest.fixture
def cuda() -> torch.device:
    """For what only a CUDA device does."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture
def device() -> torch.device:
    """A CUDA device; under ``D2_GPU_STAND_IN=cpu`` the CPU stands in where there is none."""
    if not torch.cuda.is_available() and os.environ.get("D2_GPU_STAND_IN") != "cpu":
        pytest.skip("no CUDA device")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def detector() -> Any:
    """A small RetinaNet: it draws no random numbers."""
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = "RetinaNet", "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_retinanet_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.RETINANET.NUM_CLASSES, model.RETINANET.NUM_CONVS = 4, 1
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (16, 32, 64, 128, 256)]
    torch.manual_seed(0)
    return build_model(cfg)


class Batches:
    """An endless stream of two pictures with one object each, from ``start`` on."""

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for index in itertools.count(self.start):
            random = torch.Generator().manual_seed(index)
            yield [
                {
                    "image": torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=random),
                    "instances": Instances(
                        SIZE,
                        gt_boxes=Boxes(torch.tensor([[4.0, 4, 40, 44]]) + 8 * k),
                        gt_classes=torch.tensor([k]),
                    ),
                }
                for k in range(2)
            ]


def trainer_of(
    model: nn.Module, kind: type[SimpleTrainer] = SimpleTrainer, start: int = 0, **options: Any
) -> SimpleTrainer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return kind(model, Batches(start), optimizer, **options)


def trained(model: nn.Module, iterations: int = 3, **options: Any) -> dict[str, float]:
    """Train, and return the losses of the last iteration."""
    trainer = trainer_of(model, **options)
    trainer.train(0, iterations)
    return {n: v for n, (v, _) in trainer.storage.latest().items() if "loss" in n}


def assert_same_weights(got: nn.Module, wanted: nn.Module) -> None:
    for (name, ours), theirs in zip(got.named_parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(
            ours.cpu(), theirs.cpu(), rtol=1e-6, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_a_device_trains_the_weights_that_the_cpu_trains(device: torch.device) -> None:
    here = detector().double()
    there = copy.deepcopy(here).to(device)
    assert trained(there) == pytest.approx(trained(here), rel=1e-5)
    assert_same_weights(there, here)


def test_channels_last_trains_the_same_weights_and_stays(device: torch.device) -> None:
    plain = detector().double().to(device)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    assert trained(last) == pytest.approx(trained(plain), rel=1e-5)
    assert_same_weights(last, plain)
    weights = [p for p in last.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_mixed_precision_trains_float32_weights_on_nearly_the_same_losses(
    precision: torch.dtype, memory_format: torch.memory_format, device: torch.device
) -> None:
    plain = detector().to(device)
    mixed = copy.deepcopy(plain).to(memory_format=memory_format)
    seen: set[torch.dtype] = set()
    mixed.head.cls_score.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    losses = trained(mixed, kind=AMPTrainer, precision=precision)
    assert losses == pytest.approx(trained(plain), rel=0.1)
    assert seen == {precision}
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    assert not mixed.head.cls_score.weight.equal(detector().to(device).head.cls_score.weight)


def test_mixed_precision_on_cuda_is_scaled_float16(cuda: torch.device) -> None:
    trainer = trainer_of(detector().to(cuda), AMPTrainer)
    assert isinstance(trainer, AMPTrainer)
    assert trainer.precision == torch.float16
    trainer.train(0, 3)
    assert trainer.grad_scaler.is_enabled()
    assert trainer.grad_scaler.get_scale() >= 2.0**10


def test_a_resumed_run_ends_with_the_weights_of_a_straight_one(
    device: torch.device, tmp_path: Path
) -> None:
    straight = trainer_of(detector().double().to(device))
    straight.train(0, 4)
    first = trainer_of(detector().double().to(device))
    first.train(0, 2)
    Checkpointer(first.model, tmp_path, trainer=first).save("model")
    second = trainer_of(detector().double().to(device), start=2)
    Checkpointer(second.model, tmp_path, trainer=second).resume_or_load("")
    second.model.loss_normalizer = first.model.loss_normalizer  # no checkpoint holds it
    moments = [s["momentum_buffer"] for s in second.optimizer.state.values()]
    assert {m.device.type for m in moments} == {device.type}
    second.train(second.start_iter, 4)
    assert_same_weights(second.model, straight.model)


def test_a_resumed_run_keeps_the_scale_of_its_gradients(
    device: torch.device, tmp_path: Path
) -> None:
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**6)
    first = trainer_of(
        detector().to(device), AMPTrainer, grad_scaler=scaler, precision=torch.float16
    )
    first.train(0, 2)
    Checkpointer(first.model, tmp_path, trainer=first).save("model")
    second = trainer_of(detector().to(device), AMPTrainer, start=2, precision=torch.float16)
    Checkpointer(second.model, tmp_path, trainer=second).resume_or_load("")
    second.train(second.start_iter, 4)
    assert isinstance(second, AMPTrainer)
    assert second.grad_scaler.get_scale() == scaler.get_scale() == 2.0**6


def _train_in_a_group(device: torch.device, wanted: nn.Module) -> None:
    assert dist.get_backend() == ("nccl" if device.type == "cuda" else "gloo")
    model = detector().double().to(device)
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    trained(DistributedDataParallel(model, device_ids=ids))
    assert_same_weights(model, wanted)


def test_one_process_of_a_group_trains_as_without(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = detector().double().to(device)
    trained(wanted)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # What torchrun gives its processes; `launch` makes no group for a single one otherwise.
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    launch(_train_in_a_group, 1, args=(device, wanted))
    assert not dist.is_initialized()


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_reading_losses_waits_only_when_their_values_are_asked_for(cuda: torch.device) -> None:
    losses = {"a": torch.tensor(1.5, device=cuda), "b": torch.tensor(2.0, device=cuda)}
    LossReadout(losses).values()  # allocates page-locked memory
    torch.cuda.set_sync_debug_mode("error")
    try:
        readout = LossReadout(losses)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert readout.values() == {"a": 1.5, "b": 2.0}


def test_loading_processes_feed_a_device(device: torch.device, tmp_path: Path) -> None:
    torch.zeros(1, device=device)  # workers start in a process that uses the device
    generate_shapes(tmp_path / "shapes", 4, image_size=64)
    name = coco_folder(tmp_path / "shapes" / "instances.json", tmp_path / "shapes" / "images")
    mapper = DatasetMapper(
        is_train=True, augmentations=[ResizeShortestEdge(64, 96)], image_format="BGR"
    )
    loader = build_detection_train_loader(
        DatasetCatalog.get(name), mapper=mapper, total_batch_size=2, num_workers=2, seed=0
    )
    model = detector().to(device)
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.01))
    trainer.train(0, 3)
    assert trainer.batches_consumed == 3
