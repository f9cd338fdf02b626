"""Processes that start together and talk to each other."""

import atexit
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import nn

from d2_engine import SimpleTrainer, launch
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.defaults import create_ddp_model
from d2_engine.launcher import _meeting_point
from d2_structures import comm


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)

    def forward(self, batch):
        x, y = batch
        return {"loss": (self.layer(x) - y).square().mean()}


def make_batches(rank: int, world_size: int):
    generator = torch.Generator().manual_seed(0)
    while True:
        x, y = torch.rand(4, 2, generator=generator), torch.rand(4, 1, generator=generator)
        yield x[rank::world_size], y[rank::world_size]


def train(output: str) -> None:
    rank, world_size = comm.get_rank(), comm.get_world_size()
    torch.set_num_threads(1)
    model = create_ddp_model(Regression())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SimpleTrainer(model, make_batches(rank, world_size), optimizer)
    trainer.train(0, 3)
    loss = trainer.storage.latest()["total_loss"][0] if rank == 0 else None
    DetectionCheckpointer(model, output).save("model", loss=loss)
    comm.synchronize()
    # Only the main process is allowed to find the file.
    path = os.path.join(output, "model.pth") if rank == 0 else "/nowhere/model.pth"
    other = Regression()
    with torch.no_grad():
        other.layer.weight.zero_()
    DetectionCheckpointer(other).load(path)
    assert torch.equal(other.layer.weight, model.module.layer.weight)


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path):
    launch(train, 2, args=(str(tmp_path),), timeout=timedelta(minutes=1))
    distributed = Regression()
    extra = DetectionCheckpointer(distributed).load(str(tmp_path / "model.pth"))

    model = Regression()
    trainer = SimpleTrainer(model, make_batches(0, 1), torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 3)
    assert torch.allclose(model.layer.weight, distributed.layer.weight, atol=1e-6)
    assert extra["loss"] == pytest.approx(trainer.storage.latest()["total_loss"][0], rel=1e-5)


def train_and_note_threads(output: str) -> None:
    file = Path(output) / f"threads_{comm.get_rank()}.json"
    train(output)
    before = names_of_threads()
    atexit.register(lambda: file.write_text(json.dumps([before, names_of_threads()])))


def names_of_threads() -> list[str]:
    return [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of threads")
def test_no_thread_of_the_group_outlives_it(tmp_path):
    # One that does can abort the process while the interpreter ends.
    launch(train_and_note_threads, 2, args=(str(tmp_path),), timeout=timedelta(minutes=1))
    for rank in range(2):
        before, left = json.loads((tmp_path / f"threads_{rank}.json").read_text())
        # Two at least are the group's; older versions of torch give them no names.
        assert 1 <= len(left) <= len(before) - 2
        assert not any("gloo" in name or "tcpstore" in name for name in left)


def test_one_process_simply_calls_the_function():
    calls = []
    launch(calls.append, 1, args=(3,))
    assert calls == [3]


def test_under_torchrun_the_process_joins_the_group_that_exists(tmp_path):
    code = (
        "from d2_engine import launch\n"
        "from d2_structures import comm\n"
        "def main(x): print('in group', comm.get_world_size(), comm.get_local_size(), x)\n"
        "launch(main, 8, args=('argument',))\n"
    )
    url = _meeting_point("auto", 1)
    environment = {
        **os.environ,
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": url.rpartition(":")[2],
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "in group 1 1 argument" in done.stdout, done.stderr


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        launch(print, 0)
    with pytest.raises(ValueError, match="machine_rank"):
        launch(print, 1, num_machines=2, machine_rank=2)
    with pytest.raises(ValueError, match="dist_url"):
        launch(print, 1, num_machines=2, machine_rank=0, dist_url="auto")
