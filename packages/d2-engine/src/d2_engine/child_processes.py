"""Processes that work for this one: their errors are raised here, signals reach them."""

import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

import attrs
import torch.multiprocessing as mp

from d2_data import STALL_TIMEOUT, stopped_by

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_GRACE_PERIOD_S = 8.0
"""How long processes may go on when one has failed."""

_CHECK_PERIOD_S = 1.0

_OF_A_LOST_PEER = re.compile(
    r"gloo|NCCL|TCPStore|Connection (reset|closed) by peer|Broken pipe|Timed out waiting"
)
"""In errors of communication, which a process has when another one has failed."""


class RemoteTraceback(Exception):
    """Where a process raised its error; the cause of that error here."""


def run_in_processes(
    function: Callable[..., Any],
    count: int,
    args: tuple[Any, ...],
    stall_timeout: float = STALL_TIMEOUT,
) -> None:
    """Run ``function(index, *args)`` in ``count`` spawned processes and wait for them.

    SIGINT and SIGTERM are passed on to the processes, which decide what becomes of them; those
    that come while the processes start reach them when they have. If one fails, the others have
    some seconds to end. If this process is killed, they are.

    Args:
        function: must be importable: a function of a module.
        count: number of processes.
        args: further arguments; must be picklable.
        stall_timeout: seconds that a process may be stopped, as by SIGSTOP; 0 waits for ever.

    Raises:
        BaseException: what a process raised, with that process's traceback as its cause. Errors of
            communication, which others have in consequence, come last. If one ended by a signal
            that was passed on, this process ends by it as well.
        ChildProcessError: if a process was ended or stopped by a signal, or just ended; names it.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        children = [_Child.started(index, count, function, args) for index in range(count)]
        with _passing_signals_on([child.pid for child in children]) as passed_on:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            _wait_for(children, stall_timeout)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    failed = sorted((c for c in children if c.failed), key=lambda child: child.importance)
    if not failed:
        return
    failure = failed[0].failure
    if passed_on and (failure is None or failed[0].is_consequence):
        os.kill(os.getpid(), passed_on[0])
    raise failure or ChildProcessError(failed[0].end()) from failed[0].traceback


@attrs.define
class _Child:
    """A process, and what became of it.

    Attributes:
        name: in messages.
        process: the process.
        messages: gives its error, if it raises one.
        failure: the error.
        traceback: where it was raised.
        is_consequence: whether the error only tells that another process failed.
        ended: when this process learned of it.
        stopped: since when, and by which signal, the process is stopped.
        given_up: whether it was killed for that.
        killed: whether it was killed because another had failed.
    """

    name: str
    process: Any
    messages: Connection
    failure: BaseException | None = None
    traceback: RemoteTraceback | None = None
    is_consequence: bool = False
    ended: float | None = None
    stopped: tuple[float, signal.Signals] | None = None
    given_up: bool = False
    killed: bool = False

    @classmethod
    def started(
        cls, index: int, count: int, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> "_Child":
        context = mp.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(index, sender, os.getpid(), function, args))
        process.start()
        sender.close()
        return cls(f"process {index} of {count} (pid {process.pid})", process, receiver)

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def failed(self) -> bool:
        return bool(self.failure is not None or self.process.exitcode)

    @property
    def importance(self) -> tuple[bool, bool, float]:
        """Sorts what caused a failure before what followed from it."""
        # NCCL aborts the process that waits for a lost one.
        follows = self.is_consequence or self.process.exitcode == -signal.SIGABRT
        return self.killed and not self.given_up, follows, self.ended or 0.0

    def look(self, stall_timeout: float) -> None:
        """Take what it sent, and notice its end or that it is stopped."""
        try:
            while self.failure is None and self.traceback is None and self.messages.poll():
                self._take(self.messages.recv())
        except (EOFError, OSError):
            pass
        if self.ended is None and self.process.exitcode is not None:
            self.ended = time.monotonic()
        signum = None if self.ended else stopped_by(self.pid)
        if signum is None:
            self.stopped = None if not self.given_up else self.stopped
            return
        self.stopped = self.stopped or (time.monotonic(), signum)
        if stall_timeout and time.monotonic() - self.stopped[0] >= stall_timeout:
            self.given_up = True
            self.process.kill()

    def _take(self, message: tuple[bytes, str, bool]) -> None:
        dumped, text, self.is_consequence = message
        self.ended = time.monotonic()
        self.failure = _loaded(dumped)
        self.traceback = RemoteTraceback(f"in {self.name}:\n{text}")

    def end(self) -> str:
        """How it ended, in words."""
        if self.given_up and self.stopped:
            return (
                f"{self.name} was stopped by {self.stopped[1].name} and not continued within the "
                "limit of --stall-timeout; all processes were ended"
            )
        if self.traceback is not None:
            return f"{self.traceback}"
        code = self.process.exitcode
        if code >= 0:
            return f"{self.name} ended with exit code {code} and without an error"
        signum = signal.Signals(-code)
        remedy = "; memory probably ran out" if signum == signal.SIGKILL else ""
        return f"{self.name} was ended by {signum.name}{remedy}"


def _wait_for(children: list[_Child], stall_timeout: float) -> None:
    """Return when all have ended; kill the rest when one has failed and time is up."""
    deadline: float | None = None
    while running := [child for child in children if child.process.is_alive()]:
        done = [c for c in children if c.traceback is not None or not c.process.is_alive()]
        waiting = [child.process.sentinel for child in running]
        waiting += [child.messages for child in running if child not in done]
        wait(waiting, timeout=_CHECK_PERIOD_S)
        for child in children:
            child.look(stall_timeout)
        if deadline is None and any(child.failed or child.given_up for child in children):
            deadline = time.monotonic() + _GRACE_PERIOD_S
        if deadline is not None and time.monotonic() > deadline:
            for child in running:
                child.killed = child.process.is_alive()
                child.process.kill()
    for child in children:
        child.process.join()
        child.look(stall_timeout)
        child.messages.close()


def _run(
    index: int,
    messages: Connection,
    parent: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    mp._prctl_pr_set_pdeathsig(signal.SIGKILL)  # type: ignore[attr-defined]  # torch keeps it to itself
    if os.getppid() != parent:  # killed before it could be heard of
        os._exit(1)
    # The terminal's Ctrl-C is for the whole group: without one of its own this process would
    # get it twice, once from the terminal and once passed on.
    os.setpgid(0, 0)
    try:
        # Held back by the parent while this process started, in which they leave long traces.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        function(index, *args)
    except BaseException as error:
        consequence = isinstance(error, RuntimeError) and bool(_OF_A_LOST_PEER.search(str(error)))
        messages.send((_dumped(error), traceback.format_exc(), consequence))
        # The error is told where the process was started.
        sys.exit(1)


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


def _dumped(error: BaseException) -> bytes:
    """Pickle an error; nothing if it holds what cannot be pickled."""
    try:
        return pickle.dumps(error)
    except Exception:  # whatever an object's own pickling raises
        return b""


def _loaded(dumped: bytes) -> BaseException | None:
    """Unpickle an error of a process that this one started."""
    try:
        error = pickle.loads(dumped)
    except Exception:  # nothing was pickled, or its class cannot be built again
        return None
    return error if isinstance(error, BaseException) else None
