"""Saying what happened when a process that loads data is lost."""

import re
import signal
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from torch.utils.data import DataLoader

from d2_data.loading_processes import end_stopped_workers, loading_processes, stopped_by
from d2_data.mapped_dataset import record_held_by
from d2_data.stopped_workers import given_up

__all__ = ["naming_lost_workers"]

_LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
_SIGNAL = re.compile(r"killed by signal: ([^.]+)")
_STALLED = re.compile(r"DataLoader timed out after ([\d.]+) seconds")

_REMEDIES = {
    "Killed": "memory probably ran out: use fewer workers, or a machine with more memory",
    "Bus error": (
        "shared memory probably ran out: use fewer workers, or raise the limit "
        "(of a container, --shm-size)"
    ),
}
_OTHER_REMEDY = "with num_workers=0 the data is loaded in this process, which shows what fails"


@contextmanager
def naming_lost_workers() -> Iterator[None]:
    """Turn torch's error for a loading process that died or stalled into one that says what to do.

    Loaders of this package do so while they are iterated; a training loop does so as a whole.

    It can come at any time, not only when a batch is fetched: torch raises it from the handler
    of the signal that tells of a child's end.

    Raises:
        ChildProcessError: in place of the RuntimeError; names process, signal, remedy, and what
            the process was loading.
    """
    try:
        yield
    except (ConnectionError, EOFError) as error:
        # A batch was being fetched from a process that was given up meanwhile.
        if not given_up:
            raise
        signals = {number: name for number, (name, _) in given_up.items()}
        limit = max(seconds for _, seconds in given_up.values())
        raise ChildProcessError(_silent(limit, list(signals), signals)) from error
    except RuntimeError as error:
        if stalled := _STALLED.search(str(error)):
            raise ChildProcessError(_stall(float(stalled.group(1)))) from error
        lost = _LOST.search(str(error))
        if lost is None:
            raise
        if stopped := [n for n in map(int, lost.group(1).split(",")) if n in given_up]:
            signals = {number: given_up[number][0] for number in stopped}
            raise ChildProcessError(_silent(given_up[stopped[0]][1], stopped, signals)) from error
        raise ChildProcessError(_explanation(lost.group(1), error)) from error


def _explanation(processes: str, error: BaseException) -> str:
    loading = _loading(processes)
    name = _signal_in(error) or _signal_of(_workers_behind(error))
    if name is None:
        return f"data-loading process {processes} ended unexpectedly{loading}; {_OTHER_REMEDY}"
    remedy = _REMEDIES.get(name, _OTHER_REMEDY)
    return f"data-loading process {processes} was ended by a signal ({name}){loading}; {remedy}"


def _signal_in(error: BaseException | None) -> str | None:
    while error is not None:
        if named := _SIGNAL.search(str(error)):
            return named.group(1)
        error = error.__cause__ or error.__context__
    return None


def _workers_behind(error: BaseException) -> list[BaseProcess]:
    """The loading processes of the iterator of torch's that raised an error.

    What ended a child of a fork server, only its object can tell.
    """
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    of_torch = (f for f in frames if f.f_globals.get("__name__") == DataLoader.__module__)
    iterators = (frame.f_locals.get("self") for frame in of_torch)
    return [worker for one in iterators for worker in getattr(one, "_workers", ())]


def _signal_of(workers: Iterable[BaseProcess]) -> str | None:
    """What ended the first of them that a signal ended."""
    codes = (worker.exitcode or 0 for worker in workers)
    return next((signal.strsignal(-code) for code in codes if code < 0), None)


def _stall(seconds: float) -> str:
    """Which processes did not deliver; stopped ones are killed, as they could not end."""
    pids = loading_processes()
    stopped = {pid: stopped.name for pid in pids if (stopped := stopped_by(pid)) is not None}
    text = _silent(seconds, list(stopped or pids), stopped)
    end_stopped_workers()
    return text


def _silent(seconds: float, blamed: list[int], stopped: Mapping[int, str]) -> str:
    at = "; ".join(
        f"{pid}{f' (stopped by {stopped[pid]})' if pid in stopped else ''}{_loading(str(pid))}"
        for pid in blamed
    )
    remedy = (
        "a stopped process goes on with kill -CONT"
        if stopped
        else "with num_workers=0 the data is loaded in this process, which shows what takes so long"
    )
    return (
        f"data-loading processes gave nothing for {seconds:g} s: {at}; {remedy}; the limit is "
        "--stall-timeout (0: none)"
    )


def _loading(processes: str) -> str:
    """What the processes were at, where it is known."""
    held = [record_held_by(int(process)) for process in processes.split(",")]
    known = [record for record in held if record is not None]
    return f" while it loaded {' and '.join(known)}" if known else ""
