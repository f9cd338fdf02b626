"""Writers that bring the metrics of a training run to the terminal, a file or TensorBoard."""

import datetime
import json
import logging
import math
import sys
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_modeling.events import EventStorage, get_event_storage

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
]


class EventWriter(ABC):
    """Brings what the current :class:`EventStorage` holds somewhere."""

    @abstractmethod
    def write(self) -> None:
        """Write what is new since the last call."""

    def close(self) -> None:  # noqa: B027  # optional: most writers have nothing to release
        """Release files and the like; nothing by default."""


class JSONWriter(EventWriter):
    """Append scalars to a file, one JSON object a line.

    Every line has ``iteration`` and the scalars of that iteration, keys sorted. Values
    that JSON does not know (NaN, infinity) are written as null.

    Args:
        json_file: path; an existing file is continued.
        window_size: number of iterations over which noisy scalars are smoothed by a median.
    """

    def __init__(self, json_file: str | Path, window_size: int = 20) -> None:
        self._json_file = Path(json_file)
        self._window_size = window_size
        self._last_written = -1

    def write(self) -> None:
        """Write the scalars that are newer than the last ones written."""
        lines: dict[int, dict[str, float | None]] = defaultdict(dict)
        for name, value, iteration in _new_scalars(self._window_size, self._last_written):
            lines[iteration][name] = value if math.isfinite(value) else None
        if lines:
            self._json_file.parent.mkdir(parents=True, exist_ok=True)
            # Open no longer than for this: a run that dies leaves whole lines.
            with self._json_file.open("a", encoding="utf-8") as file:
                for iteration in sorted(lines):
                    record = {"iteration": iteration, **lines[iteration]}
                    file.write(json.dumps(record, sort_keys=True) + "\n")
        self._last_written = max(lines, default=self._last_written)


class TensorboardXWriter(EventWriter):
    """Write scalars, pictures and histograms for TensorBoard.

    The event file is created at the first write.

    Args:
        log_dir: folder of the event files.
        window_size: number of iterations over which noisy scalars are smoothed by a median.
        kwargs: further arguments of ``torch.utils.tensorboard.SummaryWriter``.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        self._log_dir = log_dir
        self._window_size = window_size
        self._kwargs = kwargs
        self._writer: SummaryWriter | None = None
        self._last_written = -1

    def write(self) -> None:
        """Write what is new; pictures and histograms are removed from the storage."""
        writer = self._open()
        storage = get_event_storage()
        newest = self._last_written
        for name, value, iteration in _new_scalars(self._window_size, self._last_written):
            writer.add_scalar(name, value, iteration)
            newest = max(newest, iteration)
        self._last_written = newest
        for name, image, iteration in storage.images:
            writer.add_image(name, image, iteration)
        for histogram in storage.histograms:
            writer.add_histogram_raw(**histogram)
        storage.clear_images()
        storage.clear_histograms()
        writer.flush()

    def close(self) -> None:
        """Close the event file, if one was opened."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self._log_dir, **self._kwargs)
        return self._writer


class CommonMetricPrinter(EventWriter):
    """Log a progress line: ETA, iteration, losses, times, learning rate and peak memory.

    Memory is the peak of CUDA memory if CUDA is in use, else of the process's resident
    memory. Noisy values are medians over a window.

    Args:
        max_iter: where training ends; without it no ETA is shown.
        window_size: number of iterations of the window.
    """

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        self._logger = logging.getLogger(__name__)
        self._max_iter = max_iter
        self._window_size = window_size
        self._previous: tuple[int, float] | None = None

    def write(self) -> None:
        """Log the line of the current iteration."""
        storage = get_event_storage()
        iteration = storage.iter
        if iteration == self._max_iter:
            # Evaluation after training has its own table.
            return
        smoothed = storage.latest_with_smoothing_hint(self._window_size)
        parts = []
        if eta := self._eta(storage):
            parts.append(f"eta: {eta}")
        parts.append(f"iter: {iteration}")
        parts += [f"{name}: {value:.4g}" for name, (value, _) in smoothed.items() if "loss" in name]
        for name in ("time", "data_time"):
            if name in smoothed:
                parts.append(f"{name}: {smoothed[name][0]:.4f}")
        if "lr" in smoothed:
            parts.append(f"lr: {smoothed['lr'][0]:.5g}")
        parts.append(f"max_mem: {peak_memory_mib():.0f}M")
        self._logger.info("  ".join(parts))

    def _eta(self, storage: EventStorage) -> str | None:
        """Return the remaining time and store it as ``eta_seconds``."""
        if self._max_iter is None:
            return None
        histories = storage.histories()
        remaining = self._max_iter - storage.iter - 1
        now = (storage.iter, time.perf_counter())
        previous, self._previous = self._previous, now
        if "time" in histories:
            seconds = histories["time"].median(1000) * remaining
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
        elif previous is not None and previous[0] < now[0]:
            # No timer among the hooks: measure between two lines.
            seconds = (now[1] - previous[1]) / (now[0] - previous[0]) * remaining
        else:
            return None
        return str(datetime.timedelta(seconds=int(seconds)))


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


def _new_scalars(window_size: int, after: int) -> list[tuple[str, float, int]]:
    smoothed = get_event_storage().latest_with_smoothing_hint(window_size)
    return [
        (name, value, iteration)
        for name, (value, iteration) in smoothed.items()
        if iteration > after
    ]
