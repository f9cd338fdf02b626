"""Loading processes that a run needs to its last iteration, and that end with it."""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver, util
from pathlib import Path
from types import TracebackType
from typing import Any

import torch.multiprocessing
from torch.utils.data import DataLoader

__all__ = ["STALL_TIMEOUT", "guard_workers", "starting_workers", "stopped_by"]

STALL_TIMEOUT = 300.0
"""Seconds without a batch after which loading processes are given up."""

_OF_THE_GROUP = (signal.SIGINT, signal.SIGTERM)
_CHECK_PERIOD_S = 1.0

# Whether the main thread starts the processes at hand, which forked ones see as it was then.
_by_main_thread = False


def guard_workers(loader: DataLoader[Any], stall_timeout: float = STALL_TIMEOUT) -> None:
    """Let a loader's processes outlast signals to the whole group, but not their parent.

    A terminal, ``timeout`` and batch systems send SIGINT or SIGTERM to every process of a run. The
    run then completes its iteration, for which it needs the loading processes: they take SIGTERM
    from the process that started them only. When that ends in whatever way, they do within two
    seconds; those of loaders of this package also if they are stopped.

    On systems without ``sigwaitinfo``, as macOS, torch's handling stays.

    Args:
        loader: before it is iterated; may be guarded again. A ``timeout`` of its own stays.
        stall_timeout: seconds without a batch after which the loader raises, naming the processes;
            0 waits for ever. With a fork server, as Python 3.14 has one on Linux, loaders of this
            package have such a limit, and others wait.

    Raises:
        ValueError: if the limit is negative.
    """
    if stall_timeout < 0:
        raise ValueError(f"stall_timeout must be at least 0 seconds, got {stall_timeout}")
    if loader.num_workers == 0:
        return
    guarded = isinstance(loader.worker_init_fn, _Guarded)
    is_main = threading.current_thread() is threading.main_thread()
    hears = not are_of_a_fork_server(loader) or getattr(loader, "asks_whether_workers_live", False)
    if is_main and hears and (guarded or not loader.timeout):
        # Elsewhere torch would notice a killed process only after the timeout.
        loader.timeout = stall_timeout
    if hasattr(signal, "sigtimedwait") and not guarded:
        loader.worker_init_fn = _Guarded(loader.worker_init_fn)


class _Guarded:
    """What a loading process does first."""

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self._then = then

    def __call__(self, worker: int) -> None:
        inherited = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_GROUP)
        # Replaces torch's handler: a thread that exists already does not have the mask.
        for signum in _OF_THE_GROUP:
            signal.signal(signum, signal.SIG_IGN)
        # The system's own means looks at the thread that forked: of a fork server its only one. It
        # must not follow one which a signal to the group ends, as one that was there before does.
        if _by_main_thread or (_is_of_a_fork_server() and signal.SIGTERM in inherited):
            torch.multiprocessing._prctl_pr_set_pdeathsig(signal.SIGKILL)  # type: ignore[attr-defined]  # torch keeps it to itself
        threading.Thread(target=_end_with_parent, daemon=True).start()
        sys.excepthook = _tell_unless_receiver_left
        if self._then is not None:
            self._then(worker)


def _tell_unless_receiver_left(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an error, but for that of handing a batch to a process that no longer waits.

    It is in the thread which passes on the memory of batches, whose errors nobody else gets: those
    of loading are raised where the batch is awaited. What made that process leave is told there.
    """
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)


def _is_of_a_fork_server() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


def _end_with_parent() -> None:
    """Take signals in place of the main thread, and end when the parent says so or is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # A fork server stands between the two; and what tells of the parent's end directly may be
    # held open by sibling processes.
    is_child = not _is_of_a_fork_server()
    while os.getppid() == parent.pid if is_child else parent.is_alive():
        received = signal.sigtimedwait(_OF_THE_GROUP, _CHECK_PERIOD_S)
        if received is None or received.si_signo != signal.SIGTERM:
            continue
        if received.si_pid == parent.pid:
            break
    os._exit(0)


@contextmanager
def starting_workers() -> Iterator[None]:
    """Hold signals back while guarded loading processes start, which then do not die of them."""
    global _by_main_thread
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    _end_stopped_workers_at_exit()
    _import_once_for_all()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_GROUP)
    _by_main_thread = threading.current_thread() is threading.main_thread()
    try:
        yield
    finally:
        _by_main_thread = False
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _import_once_for_all() -> None:
    """Let a fork server import what loading needs, which each of its processes did anew.

    That took each two seconds, for every evaluation of a training again. A server that runs stays
    as it is.
    """
    modules = getattr(forkserver._forkserver, "_preload_modules", None)
    if modules is not None and "d2_data" not in modules:
        multiprocessing.set_forkserver_preload([*modules, "d2_data"])


def _hear_signals(_: object) -> None:
    """Let a process hear signals which the fork server holds back that a loader has started.

    Those loading processes that take them in a way of their own do so later.
    """
    arguments = getattr(multiprocessing.current_process(), "_args", ())
    if _is_of_a_fork_server() and not any(isinstance(each, _Guarded) for each in arguments):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_THE_GROUP)


if hasattr(signal, "sigtimedwait"):
    util.register_after_fork(_Guarded, _hear_signals)  # which the server's processes inherit


def loading_processes() -> list[int]:
    """Ids of the loading processes of this one; takes leave of those that have ended."""
    children = multiprocessing.active_children()
    return [child.pid for child in children if child.daemon and child.pid is not None]


def stopped_by(process: int) -> signal.Signals | None:
    """Return the signal that has stopped a child of this process; None if it is not stopped.

    A fork server is told the signals of the processes that it started, and others are not: SIGSTOP
    stands for all of those then.

    Args:
        process: its id.
    """
    if not hasattr(os, "waitid"):
        return None
    try:
        state = os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # it has ended, or is a child of the fork server
        return signal.SIGSTOP if _is_stopped_grandchild(process) else None
    return None if state is None else signal.Signals(state.si_status)


def _is_stopped_grandchild(process: int) -> bool:
    state, parent = _state_and_parent(process)
    return state == "T" and _state_and_parent(parent)[1] == os.getpid()


def _state_and_parent(process: int) -> tuple[str, int]:
    """As Linux tells them; nothing elsewhere, or of a process that is gone."""
    try:
        told = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return "", 0
    state, parent = told.rpartition(b")")[2].split()[:2]  # behind its name, which may be anything
    return state.decode(), int(parent)


def are_of_a_fork_server(loader: DataLoader[Any]) -> bool:
    """Whether a loader's processes are, or will be, children of a fork server."""
    context = loader.multiprocessing_context or multiprocessing
    method = context.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return loader.num_workers > 0 and method == "forkserver"


@cache
def _end_stopped_workers_at_exit() -> None:
    # This runs before what multiprocessing does at exit: asking its processes to end, which a
    # stopped one does not do, and waiting for them.
    atexit.register(end_stopped_workers)


def end_stopped_workers() -> None:
    """Kill the loading processes of this one that are stopped: asked to end, they would not."""
    if not hasattr(os, "waitid"):
        return
    # torch raises an error from the handler of SIGCHLD, unless there is nobody left to wait for.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        for child in multiprocessing.active_children():
            if child.pid is not None and child.daemon and stopped_by(child.pid):
                child.kill()
                child.join()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
