"""Writers that bring the metrics of a training run to the terminal, a file or TensorBoard."""

import datetime
import json
import logging
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_config.files import append_whole, naming_full_disk, write_atomically
from d2_config.logger import FILE_ONLY
from d2_engine.event_thread import RaisedElsewhere
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

ETA = "eta_seconds"
"""The scalar of the seconds that remain."""

EVENT_FILES = "events.out.tfevents"
"""How the names of TensorBoard's files begin."""

_SECONDS_BETWEEN_READINGS = 0.5


class EventWriter(ABC):
    """Brings what the current :class:`EventStorage` holds somewhere."""

    @abstractmethod
    def write(self) -> None:
        """Write what is new since the last call."""

    def continue_after(  # noqa: B027  # optional: most writers keep nothing
        self, iteration: int
    ) -> None:
        """Called before :meth:`begin_training` where training is resumed; does nothing by default.

        Args:
            iteration: what was recorded until then is written, -1 for nothing. What came later is
                in the storage again, as far as the checkpoint has it, or will be recorded again.
        """

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
    that each is there once, and so is a line that was not written to its end. Where the disk is
    full the file stays as it was.

    Args:
        json_file: path.
        window_size: number of iterations over which noisy scalars are smoothed by a median.
    """

    def __init__(self, json_file: str | Path, window_size: int = 20) -> None:
        self._json_file = Path(json_file)
        self._window_size = window_size
        self._last_written = -1
        self._first_anew: int | None = None
        self._resumed_after: int | None = None
        self._is_continued = False

    def continue_after(self, iteration: int) -> None:
        """Take note of it for :meth:`begin_training`."""
        self._resumed_after = iteration

    def begin_training(self, start_iter: int, max_iter: int) -> None:
        """Take note of the first iteration; the file is left alone until something is written.

        Results of a resumed training that came after its checkpoint was saved, as those of an
        evaluation, are brought back into the storage.
        """
        self._first_anew = start_iter
        if self._resumed_after is not None:
            self._first_anew = self._resumed_after + 1
            self._last_written = self._resumed_after
            self._restore(range(self._first_anew, start_iter))
        self._resumed_after = None
        self._is_continued = False

    def write(self) -> None:
        """Write the scalars that are newer than the last ones written."""
        lines: dict[int, dict[str, float | None]] = defaultdict(dict)
        for name, value, iteration in _new_scalars(self._window_size, self._last_written):
            lines[iteration][name] = value if math.isfinite(value) else None
        if not lines:
            return
        records = [{"iteration": iteration, **lines[iteration]} for iteration in sorted(lines)]
        text = "".join(json.dumps(record, sort_keys=True) + "\n" for record in records)
        if self._is_continued:
            append_whole(self._json_file, text)
        else:
            first = min(lines)
            self._replace_from(
                first if self._first_anew is None else min(first, self._first_anew), text
            )
            self._is_continued = True
        self._last_written = max(lines)

    def _replace_from(self, first_iter: int, text: str) -> None:
        """Let lines take the place of those from an iteration on, and of broken ones."""
        lines = self._lines()
        kept = b"".join(line + b"\n" for line in lines if _iteration_of(line) < first_iter)
        write_atomically(self._json_file, kept + text.encode())

    def _lines(self) -> list[bytes]:
        try:
            return self._json_file.read_bytes().splitlines()
        except FileNotFoundError:
            return []

    def _restore(self, iterations: range) -> None:
        """Put scalars of an existing file into the storage that are newer than those in it.

        Not the time that remained: an interruption wrote it in an iteration of its own.
        """
        storage = get_event_storage()
        for line in self._lines():
            iteration = _iteration_of(line)
            if iteration not in iterations:
                continue
            latest = storage.latest()
            for name, value in json.loads(line).items():
                if name not in ("iteration", ETA) and latest.get(name, (0.0, -1))[1] < iteration:
                    number = math.nan if value is None else float(value)
                    storage.restore_scalar(name, number, int(iteration))


def _iteration_of(line: bytes) -> float:
    """The iteration of a line of the file; infinity if it is none."""
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf


class TensorboardXWriter(EventWriter):
    """Write scalars, pictures and histograms for TensorBoard.

    The event file is created at the first write. Where the disk is full, that is one error that
    names it.

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
        self._failures = RaisedElsewhere()
        self._last_written = -1

    def continue_after(self, iteration: int) -> None:
        """Let what is written from now on take the place of what is there of later iterations."""
        self._kwargs.setdefault("purge_step", iteration + 1)
        self._last_written = iteration

    def begin_training(self, start_iter: int, max_iter: int) -> None:
        """Let a resumed training take the place of what was written of its iterations before."""
        if start_iter > 0:
            self._kwargs.setdefault("purge_step", start_iter)

    def write(self) -> None:
        """Write what is new; pictures and histograms are removed from the storage."""
        with naming_full_disk(Path(self._log_dir, EVENT_FILES)):
            self._write()

    def _write(self) -> None:
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
            with naming_full_disk(Path(self._log_dir, EVENT_FILES)):
                self._writer.close()
            self._failures.end()

    def _open(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._failures.begin()
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
        self.logger = logging.getLogger(__name__)
        self._max_iter = max_iter
        self._window_size = window_size
        self._progress = TrainingProgress(max_iter, window_size, images_per_batch)
        self._line = LiveLine(self._progress.content)
        self._last_logged: int | None = None
        self._last_ended: int | None = None

    def begin_training(self, start_iter: int, max_iter: int) -> None:
        """Show the line in the terminal, if there is one."""
        self._last_logged, self._last_ended = None, -1  # none of this start
        self._progress.start(start_iter)
        self._line.show()

    def end_iteration(self) -> None:
        """Log the first iteration; let the line in the terminal follow the others."""
        storage = get_event_storage()
        self._last_ended = storage.iter
        if self._last_logged is None:
            self._log(storage)
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
        self._log(storage)
        # Recorded only where it is written, too: elsewhere a resumed run would have it once more.
        self._get_eta(storage)

    def _log(self, storage: EventStorage) -> None:
        self._last_logged = storage.iter
        self._progress.read(storage)
        self._line.refresh()
        extra = FILE_ONLY if self._line.visible else None
        self.logger.info(self._progress.log_line(), extra=extra)

    def _get_eta(self, storage: EventStorage) -> str | None:
        """The time that remains, as text, which is also recorded in seconds; None if unknown."""
        remaining = self._progress.remaining_seconds
        if remaining is None:
            return None
        if "time" in storage.histories():
            storage.put_scalar(ETA, remaining, smoothing_hint=False)
        return str(datetime.timedelta(seconds=int(remaining)))

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
