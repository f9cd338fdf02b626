"""One seed per run, split per sample."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_sample(run_seed: int, position: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch (CPU) for one sample.

    What is drawn inside depends on the two numbers alone: not on the worker that maps the
    sample, nor on what was drawn before. The generators' states come back afterwards, so
    a loader without workers does not disturb the draws of the training loop.

    Args:
        run_seed: the run's seed, the same in all processes.
        position: of the sample in the stream of all processes.
    """
    words = np.random.SeedSequence([run_seed, position]).generate_state(4)
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.random.get_rng_state()
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])
    torch.random.default_generator.manual_seed(int(words[3]))
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.random.set_rng_state(torch_state)
