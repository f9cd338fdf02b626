"""Processes that work for this one: their errors are raised here, signals reach them."""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch.multiprocessing as mp

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_GRACE_PERIOD_S = 10
"""How long processes may go on when one has failed."""


def run_in_processes(function: Callable[..., Any], count: int, args: tuple[Any, ...]) -> None:
    """Run ``function(index, *args)`` in ``count`` spawned processes and wait for them.

    SIGINT and SIGTERM are passed on to the processes, which decide what becomes of them.

    Args:
        function: must be importable: a function of a module.
        count: number of processes.
        args: further arguments; must be picklable.

    Raises:
        Exception: the first that a process raised, with that process's traceback as its cause.
            If one ended by a signal that was passed on, this process ends by it as well.
    """
    failures = mp.get_context("spawn").SimpleQueue()
    context: Any = mp.start_processes(
        _run, args=(failures, function, args), nprocs=count, join=False, start_method="spawn"
    )
    with _passing_signals_on(context.pids()) as passed_on:
        try:
            while not context.join(grace_period=_GRACE_PERIOD_S):
                pass
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
            failure = None if failures.empty() else _loaded(failures.get())
            if failure is not None:
                raise failure from error
            if not passed_on:
                raise
        else:
            return
    os.kill(os.getpid(), passed_on[0])


def _run(index: int, failures: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    # The terminal's Ctrl-C is for the whole group: without one of its own this process would
    # get it twice, once from the terminal and once passed on.
    os.setpgid(0, 0)
    try:
        function(index, *args)
    except Exception as error:
        failures.put(_dumped(error))
        raise


@contextmanager
def _passing_signals_on(pids: list[int]) -> Iterator[list[int]]:
    """Pass signals on to processes within the block; gives a list of those that came."""
    received: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        for pid in pids:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:  # it has ended
                continue

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {signum: signal.signal(signum, pass_on) for signum in SIGNALS}
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _dumped(error: Exception) -> bytes:
    """Pickle an error; nothing if it holds what cannot be pickled."""
    try:
        return pickle.dumps(error)
    except Exception:  # whatever an object's own pickling raises
        return b""


def _loaded(dumped: bytes) -> Exception | None:
    """Unpickle an error of a process that this one started."""
    try:
        error = pickle.loads(dumped)
    except Exception:  # nothing was pickled, or its class cannot be built again
        return None
    return error if isinstance(error, Exception) else None
