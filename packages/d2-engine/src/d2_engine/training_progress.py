"""How a training goes: the numbers behind the line in the log and the one in the terminal."""

import datetime
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from d2_eval.live import Fact, LineContent
from d2_modeling.events import EventStorage

_MUCH_WAITING = 0.3


class _Numbers(NamedTuple):
    """What was true after an iteration; None where it is not known."""

    iteration: int
    read_at: float
    losses: Mapping[str, float]
    smoothed: Mapping[str, float]
    """All scalars."""
    seconds: float | None
    """Of an iteration."""
    remaining: float | None
    """Seconds to the end of training."""
    waiting: float | None
    """Share of the time of an iteration, in 0..1."""
    memory_mib: float


class TrainingProgress:
    """The latest numbers of a training, taken from its storage, and two ways to say them.

    Noisy numbers are medians over a window. Without an ``IterationTimer`` among the hooks the time
    of an iteration is what has passed since the start, divided.

    Args:
        max_iter: where training ends; None if that is not known.
        window_size: number of iterations of the window.
        images_per_batch: images in one iteration, over all processes; None if not known.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        max_iter: int | None = None,
        window_size: int = 20,
        images_per_batch: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._max_iter = max_iter
        self._window = window_size
        self._images_per_batch = images_per_batch
        self._clock = clock
        self._started: tuple[int, float] | None = None
        # Replaced as a whole: another thread draws the line in the terminal.
        self._numbers: _Numbers | None = None

    def start(self, start_iter: int) -> None:
        """Begin to measure, before the iteration ``start_iter``."""
        self._started = (start_iter, self._clock())
        self._numbers = None

    def read(self, storage: EventStorage) -> None:
        """Take the numbers of the iteration that was just done."""
        now, iteration = self._clock(), storage.iter
        if self._started is None:
            self._started = (iteration + 1, now)
        latest = storage.latest_with_smoothing_hint(self._window)
        seconds, of_all = self._iteration_seconds(storage, now)
        remaining = None
        if self._max_iter is not None and of_all is not None:
            remaining = of_all * max(self._max_iter - iteration - 1, 0)
        self._numbers = _Numbers(
            iteration=iteration,
            read_at=now,
            # What was recorded longer ago, as by an evaluation, has been told.
            losses={
                name: value
                for name, (value, recorded) in latest.items()
                if "loss" in name and recorded > iteration - self._window
            },
            smoothed={name: value for name, (value, _) in latest.items()},
            seconds=seconds,
            remaining=remaining,
            waiting=self._waiting(storage, seconds),
            memory_mib=peak_memory_mib(),
        )

    def _iteration_seconds(
        self, storage: EventStorage, now: float
    ) -> tuple[float | None, float | None]:
        """Seconds of an iteration, of the window and of all."""
        histories = storage.histories()
        if "time" in histories:
            count = storage.count_samples("time", self._window)
            return histories["time"].avg(count), histories["time"].median(1000)
        assert self._started is not None
        done = storage.iter + 1 - self._started[0]
        seconds = (now - self._started[1]) / done if done > 0 else None
        return seconds, seconds

    def _waiting(self, storage: EventStorage, seconds: float | None) -> float | None:
        histories = storage.histories()
        if not seconds or "data_time" not in histories:
            return None
        # The first iterations have no time, but the longest time of waiting.
        count = storage.count_samples("time", self._window) if "time" in histories else 1
        return min(histories["data_time"].avg(count) / seconds, 1.0)

    @property
    def seconds_since_read(self) -> float:
        """How old the numbers are; infinity before the first."""
        return math.inf if self._numbers is None else self._clock() - self._numbers.read_at

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds to the end when the numbers were read; None if that is not known."""
        return None if self._numbers is None else self._numbers.remaining

    def log_line(self) -> str:
        """The numbers as one line of ``name: value``; to be called after :meth:`read`."""
        numbers = self._numbers
        if numbers is None:
            raise RuntimeError("call read() before log_line(): there are no numbers yet")
        parts = [] if numbers.remaining is None else [f"eta: {_shown(numbers.remaining)}"]
        parts.append(f"iter: {numbers.iteration}")
        parts += [f"{name}: {value:.4g}" for name, value in numbers.losses.items()]
        for name in ("time", "data_time"):
            if name in numbers.smoothed:
                parts.append(f"{name}: {numbers.smoothed[name]:.4f}")
        if numbers.waiting is not None:
            parts.append(f"waiting for data: {numbers.waiting:.0%}")
        if (speed := self._images_per_second(numbers)) is not None:
            parts.append(f"images/s: {speed:.4g}")
        if "lr" in numbers.smoothed:
            parts.append(f"lr: {numbers.smoothed['lr']:.5g}")
        parts.append(f"max_mem: {numbers.memory_mib:.0f}M")
        return "  ".join(parts)

    def content(self) -> LineContent:
        """The numbers as a line in the terminal; its times are those of this moment."""
        start_iter, started = self._started or (0, self._clock())
        numbers = self._numbers
        done = start_iter if numbers is None else numbers.iteration + 1
        fraction = done / self._max_iter if self._max_iter else None
        facts = [Fact(f"{done}" if self._max_iter is None else f"{done}/{self._max_iter}")]
        if numbers is None:
            facts.append(Fact(f"first iteration {_shown(self._clock() - started)}", style="cyan"))
            return LineContent("train", fraction, facts)
        if self._max_iter is not None and done >= self._max_iter:
            facts.append(Fact(f"in {_shown(numbers.read_at - started)}", style="cyan"))
        elif self._max_iter is not None and numbers.remaining is not None:
            # What takes longer than an iteration, such as an evaluation, is no part of it.
            passed = min(
                self._clock() - numbers.read_at, numbers.remaining / (self._max_iter - done)
            )
            facts.append(Fact(f"eta {_shown(numbers.remaining - passed)}", style="cyan"))
        facts += [*_loss_facts(numbers), *self._speed_facts(numbers)]
        return LineContent("train", fraction, facts)

    def _images_per_second(self, numbers: _Numbers) -> float | None:
        if not numbers.seconds or self._images_per_batch is None:
            return None
        return self._images_per_batch / numbers.seconds

    def _speed_facts(self, numbers: _Numbers) -> list[Fact]:
        facts = []
        if (speed := self._images_per_second(numbers)) is not None:
            facts.append(Fact(f"{speed:.3g} images/s", rank=2))
        elif each := numbers.seconds:
            text = f"{1 / each:.3g} it/s" if each < 1 else f"{each:.3g} s/it"
            facts.append(Fact(text, rank=2))
        if numbers.waiting is not None:
            style = "yellow" if numbers.waiting >= _MUCH_WAITING else ""
            facts.append(Fact(f"waits {numbers.waiting:.0%}", rank=3, style=style))
        if not math.isnan(numbers.memory_mib):
            facts.append(Fact(f"{numbers.memory_mib / 1024:.1f} GB", rank=5))
        return facts


def peak_memory_mib() -> float:
    """Return the peak memory of this process in MiB: of CUDA if it is in use, else resident."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _loss_facts(numbers: _Numbers) -> list[Fact]:
    facts = []
    losses = dict(numbers.losses)
    if (total := losses.pop("total_loss", None)) is not None:
        facts.append(Fact(f"loss {total:#.4g}", rank=1, style="bold"))
    for rank, (name, value) in enumerate(losses.items(), start=6):
        facts.append(Fact(f"{name.removeprefix('loss_')} {value:#.3g}", rank=rank, style="dim"))
    if "lr" in numbers.smoothed:
        facts.append(Fact(f"lr {numbers.smoothed['lr']:.3g}", rank=4))
    return facts


def _shown(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
