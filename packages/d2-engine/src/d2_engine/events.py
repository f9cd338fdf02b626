"""Writers that bring the metrics of a training run to the terminal, a file or TensorBoard."""

import json
import logging
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_config.files import write_atomically
from d2_config.logger import FILE_ONLY
from d2_engine.training_progress import TrainingProgress
from d2_eval.live import LiveLine
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

_SECONDS_BETWEEN_READINGS = 0.5


class EventWriter(ABC):
    """Brings what the current :class:`EventStorage` holds somewhere."""

    @abstractmethod
    def write(self) -> None:
        """Write what is new since the last call."""

    def begin_training(  # noqa: B027  # optional: most writers do not care
        self, start_iter: int, max_iter: int
    ) -> None:
        """Called before the first iteration; does nothing by default.

        Args:
            start_iter: the first iteration, larger than 0 where training is resumed.
            max_iter: where training ends (exclusive).
        """

    def end_iteration(self) -> None:  # noqa: B027  # optional: most writers do not care
        """Called after each iteration, written or not; does nothing by default. Be quick."""

    def close(self) -> None:  # noqa: B027  # optional: most writers have nothing to release
        """Release files and the like; nothing by default."""


class JSONWriter(EventWriter):
    """Append scalars to a file, one JSON object a line.

    Every line has ``iteration`` and the scalars of that iteration, keys sorted. Values
    that JSON does not know (NaN, infinity) are written as null.

    An existing file is continued: its lines of iterations that are now done again are dropped, so
    that each is there once, and so is a line that was not written to its end.

    Args:
        json_file: path.
        window_size: number of iterations over which noisy scalars are smoothed by a median.
    """

    def __init__(self, json_file: str | Path, window_size: int = 20) -> None:
        self._json_file = Path(json_file)
        self._window_size = window_size
        self._last_written = -1
        self._start_iter: int | None = None
        self._is_continued = False

    def begin_training(self, start_iter: int, max_iter: int) -> None:
        """Take note of the first iteration; the file is left alone until something is written."""
        self._start_iter = start_iter
        self._is_continued = False

    def write(self) -> None:
        """Write the scalars that are newer than the last ones written."""
        lines: dict[int, dict[str, float | None]] = defaultdict(dict)
        for name, value, iteration in _new_scalars(self._window_size, self._last_written):
            lines[iteration][name] = value if math.isfinite(value) else None
        if not lines:
            return
        if not self._is_continued:
            first = min(lines)
            self._cut_off(first if self._start_iter is None else min(first, self._start_iter))
            self._is_continued = True
        self._json_file.parent.mkdir(parents=True, exist_ok=True)
        # Open no longer than for this: a run that dies leaves whole lines.
        with self._json_file.open("a", encoding="utf-8") as file:
            for iteration in sorted(lines):
                record = {"iteration": iteration, **lines[iteration]}
                file.write(json.dumps(record, sort_keys=True) + "\n")
        self._last_written = max(lines)

    def _cut_off(self, first_iter: int) -> None:
        """Drop the lines of an existing file from an iteration on, and broken ones."""
        try:
            content = self._json_file.read_bytes()
        except FileNotFoundError:
            return
        kept = b"".join(
            line + b"\n" for line in content.splitlines() if _is_before(line, first_iter)
        )
        if kept != content:
            write_atomically(self._json_file, kept)


def _is_before(line: bytes, first_iter: int) -> bool:
    try:
        return bool(json.loads(line)["iteration"] < first_iter)
    except (ValueError, KeyError, TypeError):
        return False


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

    def begin_training(self, start_iter: int, max_iter: int) -> None:
        """Let a resumed training take the place of what was written of its iterations before."""
        if start_iter > 0:
            self._kwargs.setdefault("purge_step", start_iter)

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
    """Show how training goes: iteration, losses, ETA, speed, learning rate and peak memory.

    In a terminal it is one line that is there from the first iteration on and changes in place.
    A line for the log is written at the first iteration and whenever :meth:`write` is called; where
    the terminal has the live one, it goes to log files only.

    Memory is the peak of CUDA memory if CUDA is in use, else of the process's resident memory.
    ``waiting for data`` is the share of the time of an iteration. Noisy values are smoothed over a
    window.

    Args:
        max_iter: where training ends; without it no ETA is shown.
        window_size: number of iterations of the window.
        images_per_batch: images in one iteration, over all processes; without it no images/s are
            shown.
    """

    def __init__(
        self,
        max_iter: int | None = None,
        window_size: int = 20,
        *,
        images_per_batch: int | None = None,
    ) -> None:
        self._logger = logging.getLogger(__name__)
        self._max_iter = max_iter
        self._progress = TrainingProgress(max_iter, window_size, images_per_batch)
        self._line = LiveLine(self._progress.content)
        self._last_logged: int | None = None
        self._last_ended: int | None = None

    def begin_training(self, start_iter: int, max_iter: int) -> None:
        """Show the line in the terminal, if there is one."""
        self._last_logged, self._last_ended = None, start_iter - 1
        self._progress.start(start_iter)
        self._line.show()

    def end_iteration(self) -> None:
        """Log the first iteration; let the line in the terminal follow the others."""
        storage = get_event_storage()
        self._last_ended = storage.iter
        if self._last_logged is None:
            self.write()
        # Reading may have to wait for an accelerator: not at every one of many fast iterations.
        elif self._line.visible and self._progress.seconds_since_read >= _SECONDS_BETWEEN_READINGS:
            self._progress.read(storage)
            self._line.refresh()

    def write(self) -> None:
        """Log the line of the current iteration."""
        storage = get_event_storage()
        # After training, and after an error, there is no iteration that has just been done.
        is_done = self._last_ended in (None, storage.iter)
        if not is_done or storage.iter in (self._max_iter, self._last_logged):
            return
        self._last_logged = storage.iter
        self._progress.read(storage)
        self._line.refresh()
        remaining = self._progress.remaining_seconds
        if remaining is not None and "time" in storage.histories():
            storage.put_scalar("eta_seconds", remaining, smoothing_hint=False)
        extra = FILE_ONLY if self._line.visible else None
        self._logger.info(self._progress.log_line(), extra=extra)

    def close(self) -> None:
        """Leave the line in the terminal as it is last."""
        self._line.hide(keep=True)


def _new_scalars(window_size: int, after: int) -> list[tuple[str, float, int]]:
    smoothed = get_event_storage().latest_with_smoothing_hint(window_size)
    return [
        (name, value, iteration)
        for name, (value, iteration) in smoothed.items()
        if iteration > after
    ]
