"""A data-loading process that dies is named with the remedy."""

import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from d2_engine import SimpleTrainer
from d2_engine.loading_processes import naming_lost_processes


class Dying(Dataset):
    """Data whose third item ends the process that reads it."""

    def __init__(self, signum):
        self.signum = signum

    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), self.signum)
        return torch.ones(1)


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x).mean()


@pytest.mark.parametrize(
    ("signum", "said"),
    [
        (signal.SIGKILL, "Killed.*memory.*fewer workers"),
        (signal.SIGTERM, "Terminated.*num_workers=0"),
    ],
)
def test_a_killed_loading_process_ends_training_with_signal_and_remedy(signum, said):
    model = Mean()
    loader = DataLoader(Dying(signum), batch_size=1, num_workers=1, prefetch_factor=1)
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ChildProcessError, match=rf"data-loading process \d+ .*{said}"):
        trainer.train(0, 50)


def raise_as_torch_does(signal_text):
    try:
        if signal_text:
            raise RuntimeError(f"DataLoader worker (pid 12) is killed by signal: {signal_text}. ")
    except RuntimeError as error:
        raise RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly") from error
    raise RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")


def test_the_signal_is_found_behind_the_error_that_follows_it():
    with (
        pytest.raises(ChildProcessError, match="process 12 .*Bus error.*shared memory.*--shm-size"),
        naming_lost_processes(),
    ):
        raise_as_torch_does("Bus error")
    with (
        pytest.raises(ChildProcessError, match="12, 13 ended unexpectedly; with num_workers=0"),
        naming_lost_processes(),
    ):
        raise_as_torch_does(None)


def test_other_errors_pass():
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError) as caught, naming_lost_processes():
        raise error
    assert caught.value is error
