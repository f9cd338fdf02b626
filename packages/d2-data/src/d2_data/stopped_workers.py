"""Giving up loading processes that are stopped and not continued."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from d2_data.loading_processes import loading_processes, stopped_by

_CHECK_PERIOD_S = 0.5
_GRACE_S = 1.0
"""In which a limit on waiting for data may say so first."""

_given_up: dict[int, tuple[str, float]] = {}

given_up: Mapping[int, tuple[str, float]] = MappingProxyType(_given_up)
"""Processes that were killed for it: the name of the signal that had stopped each, the limit."""


@contextmanager
def giving_up_stopped_workers(limit: float) -> Iterator[None]:
    """Kill loading processes that are stopped for longer than a limit, while the block runs.

    torch's own limit is one on waiting for a batch. But a batch that has come may have to be
    fetched from the memory of a process that is stopped, for which there is none.

    Args:
        limit: in seconds; 0 for none.
    """
    if not limit or not hasattr(os, "waitid"):
        yield
        return
    # Asked here, not in the thread: asking also takes leave of processes that have ended.
    processes = loading_processes()
    is_over = threading.Event()
    watch = threading.Thread(target=_watch, args=(processes, limit, is_over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        is_over.set()


def _watch(processes: list[int], limit: float, is_over: threading.Event) -> None:
    since: dict[int, float] = {}
    while not is_over.wait(_CHECK_PERIOD_S):
        for process in processes:
            stopped = stopped_by(process)
            if stopped is None:
                since.pop(process, None)
                continue
            begin = since.setdefault(process, time.monotonic())
            if time.monotonic() - begin > limit + _GRACE_S:
                _given_up[process] = (stopped.name, limit)
                os.kill(process, signal.SIGKILL)
                processes.remove(process)
                break
