"""Random numbers that depend on the iteration, not on how training got there."""

import hashlib
import random

import numpy as np
import torch

from d2_engine.train_loop import HookBase
from d2_structures import comm


class IterationSeed(HookBase):
    """Seed the random generators before each iteration from (seed, process, iteration).

    A resumed run then draws the same random numbers as one that was never stopped, and no
    generator state has to be kept in checkpoints. It belongs at the beginning of the hooks.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rank = 0

    def before_train(self) -> None:
        """Find the rank of this process."""
        self._rank = comm.get_rank()

    def before_step(self) -> None:
        """Seed ``random``, NumPy's global generator and torch."""
        seed_generators(split_seed(self._seed, self._rank, self.trainer.iter))


def split_seed(seed: int, *keys: int) -> int:
    """Derive an independent 63-bit seed from a seed and a path of integers."""
    text = ",".join(str(key) for key in (seed, *keys))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_generators(seed: int) -> None:
    """Seed ``random``, NumPy's global generator, and torch on the CPU and the accelerator.

    It is called in every iteration. ``torch.manual_seed`` would take a third of a millisecond:
    for every kind of accelerator that is not in use it notes the stack of its caller.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # augmentations of users draw from it
    torch.default_generator.manual_seed(seed)
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None:
        devices = torch.get_device_module(accelerator)
        getattr(devices, "manual_seed_all", devices.manual_seed)(seed)
