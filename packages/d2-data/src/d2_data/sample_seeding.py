"""One seed per run, split per sample."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info


@contextmanager
def seeded_sample(run_seed: int, *place: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch (CPU) for one sample.

    What is drawn inside depends on the numbers alone: not on the worker that maps the
    sample, nor on what was drawn before. The generators' states come back afterwards, so
    a loader without workers does not disturb the draws of the training loop.

    Args:
        run_seed: the run's seed, the same in all processes.
        place: of the sample: its position in the stream of all processes, or process, worker and
            position where each has a stream of its own.
    """
    words = np.random.SeedSequence([run_seed, *place]).generate_state(4)
    # Nothing but samples draws in a loading process.
    states = None if get_worker_info() is not None else _states()
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])
    torch.random.default_generator.manual_seed(int(words[3]))
    try:
        yield
    finally:
        if states is not None:
            _restore(states)


_States = tuple[object, dict[str, object], torch.Tensor]


def _states() -> _States:
    return random.getstate(), np.random.get_state(legacy=False), torch.random.get_rng_state()


def _restore(states: _States) -> None:
    python_state, numpy_state, torch_state = states
    random.setstate(python_state)  # type: ignore[arg-type]  # what getstate returned
    np.random.set_state(numpy_state)
    torch.random.set_rng_state(torch_state)
