"""A data-loading process that dies is named with the remedy."""

import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from d2_engine import SimpleTrainer


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


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.parametrize(
    ("signum", "said"),
    [
        (signal.SIGKILL, "Killed.*memory.*fewer workers"),
        (signal.SIGTERM, "Terminated.*num_workers=0"),
    ],
)
def test_a_killed_loading_process_ends_training_with_signal_and_remedy(signum, said, method):
    model = Mean()
    data = Dying(signum)
    loader = DataLoader(data, num_workers=1, prefetch_factor=1, multiprocessing_context=method)
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ChildProcessError, match=rf"data-loading process \d+ .*{said}"):
        trainer.train(0, 50)
