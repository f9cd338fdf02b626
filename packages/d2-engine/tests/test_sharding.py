"""Divided models: what is divided, made whole, and divided again."""

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from d2_engine import SimpleTrainer, launch
from d2_engine.checkpoint import Checkpointer
from d2_engine.sharding import (
    divided_like,
    is_sharded,
    shard,
    whole,
    whole_weights,
    without_exchange,
)
from d2_structures import comm


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return {"loss": self.norm(x).square().sum(dim=1).mean() + x.mean()}


def divide(folder: str) -> None:
    torch.set_num_threads(1)
    rank = comm.get_rank()
    torch.manual_seed(rank)  # the processes begin with different weights
    model = shard(Network())
    assert is_sharded(model)
    local = model.blocks[0][0].weight.to_local()
    assert local.shape == (3, 6)
    state = whole({"a": [model.state_dict()], "b": (1, "text", None)})
    assert state["b"] == (1, "text", None)
    weights = state["a"][0]
    assert weights["blocks.0.0.weight"].shape == (6, 6)
    torch.manual_seed(0)
    assert torch.equal(weights["blocks.0.0.weight"], Network().blocks[0][0].weight)

    again = divided_like(weights["blocks.0.0.weight"], model.blocks[0][0].weight)
    assert torch.equal(again.to_local(), local)

    model.eval()
    with whole_weights(model), torch.no_grad():
        for _ in range(1 + 2 * rank):  # any number of times in each process
            assert torch.isfinite(model(torch.ones(4, 6))["loss"])
        assert model.blocks[0][0].weight.shape == (6, 6)
    assert torch.equal(model.blocks[0][0].weight.to_local(), local)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = iter([torch.full((4, 6), 0.1 * (rank + 1) * number) for number in range(1, 9)])
    trainer = SimpleTrainer(model, batches, optimizer, accumulate=2)
    trainer.train(0, 2)
    Checkpointer(model, folder, trainer=trainer, save_to_disk=rank == 0).save("model")
    comm.synchronize()
    trained = whole(model.state_dict())
    momentum = whole(trainer.state_dict()["optimizer"])["state"][0]["momentum_buffer"]

    torch.manual_seed(7 + rank)
    other = shard(Network())
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    resumed = SimpleTrainer(other, iter([]), optimizer)
    Checkpointer(other, trainer=resumed).load(os.path.join(folder, "model.pth"))
    assert_equal(whole(other.state_dict()), trained)
    assert torch.equal(
        whole(resumed.state_dict()["optimizer"])["state"][0]["momentum_buffer"], momentum
    )
    assert momentum.abs().max() > 0


def assert_equal(found: dict, expected: dict) -> None:
    """Weights; buffers differ between processes."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if "running" not in name:
            assert torch.equal(found[name], value), name


def test_what_is_divided_becomes_whole_and_is_divided_again(tmp_path):
    launch(divide, 2, args=(str(tmp_path),))
    saved = torch.load(tmp_path / "model.pth", weights_only=True)
    assert type(saved["model"]["blocks.1.0.bias"]) is torch.Tensor
    Network().load_state_dict(saved["model"])
    state = saved["trainer"]["optimizer"]["state"][0]
    assert type(state["momentum_buffer"]) is torch.Tensor
    assert state["momentum_buffer"].shape == (6, 6)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = Network().blocks

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Blocks()
        self.head = nn.Linear(6, 6)

    def forward(self, x):
        return {"loss": self.head(self.backbone(x)).square().mean()}


def train_compiled() -> None:
    torch.set_num_threads(1)
    rank = comm.get_rank()
    trained = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Detector()
        if compiled:
            # What makes kernels of the graph takes long, and does not know what is divided.
            model.backbone.compile(dynamic=True, backend="aot_eager")
        optimizer = torch.optim.SGD(shard(model).parameters(), lr=0.1, momentum=0.9)
        batches = iter([torch.full((3 + n % 2, 6), 0.1 * (rank + n)) for n in range(4)])
        SimpleTrainer(model, batches, optimizer).train(0, 4)
        with whole_weights(model.eval()), torch.no_grad():
            model(torch.ones(2, 6))
        trained.append(whole(model.state_dict()))
    assert_equal(*trained)
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0


def test_compiled_backbones_train_divided_as_others_do():
    launch(train_compiled, 2)


def test_one_process_divides_nothing():
    model = Network()
    assert shard(model) is model
    assert not is_sharded(model)
    assert not dist.is_initialized()
    with whole_weights(model), without_exchange(model):
        model(torch.ones(4, 6))
    value = torch.ones(2)
    assert divided_like(value, model.norm.weight) is value
    assert whole(value) is value


@pytest.mark.parametrize("value", [3, None, "text"])
def test_what_is_no_tensor_stays(value):
    assert whole(value) == divided_like(value, torch.ones(1)) == value


def test_what_divides_models_is_not_imported_before_one_is_divided():
    script = "import sys, d2_engine.run; print('torch.distributed.fsdp' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert answer.stdout.strip() == b"False"
