"""Ending a run on SIGINT or SIGTERM at a point from which it can continue."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from d2_engine.train_loop import HookBase
from d2_structures import comm

logger = logging.getLogger(__name__)


class TrainingInterrupted(Exception):
    """Training ended on a signal, after a complete iteration.

    Attributes:
        signum: the signal.
        exit_code: what a process that ends because of it returns by convention.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"training interrupted by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[type, tuple[int], dict[str, Any]]:
        """Let it be raised in the process that started this one, with its notes."""
        return type(self), (self.signum,), vars(self)


class StoppedAtOnceError(KeyboardInterrupt):
    """A second signal came: nothing more was completed or saved.

    Attributes:
        signum: the signal.
        exit_code: what a process that ends because of it returns by convention.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped at once by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[type, tuple[int]]:
        """Let it be raised in the process that started this one."""
        return type(self), (self.signum,)


class Interruption:
    """Catch SIGINT and SIGTERM while the ``with`` block runs.

    The first signal is noted: the iteration in progress is completed, then
    :class:`StopOnInterruption` raises. Within :meth:`immediate` it raises at once. A
    second signal raises :class:`StoppedAtOnceError` at once, if it comes more than a second later:
    ``timeout`` and batch systems send the same signal to a process and again to its group.

    Outside the main thread signals cannot be caught; the block then changes nothing.

    Args:
        clock: gives seconds.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    SAME_SIGNAL_S = 1.0
    """Seconds within which a second signal is taken for the first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._received_at = 0.0
        self.signum: int | None = None
        self._immediate = False
        self._previous: dict[int, Any] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in self.SIGNALS:
                self._previous[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Raise at once on a signal: for work that may stop anywhere, such as evaluation.

        Not if several processes train together: they have to stop at the same point.
        """
        if comm.get_world_size() > 1:
            yield
            return
        self.raise_if_received()
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False

    def raise_if_received(self) -> None:
        """Raise TrainingInterrupted if a signal was received."""
        if self.signum is not None:
            raise TrainingInterrupted(self.signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._on_signal_in_worker(signum)
            return
        if self.signum is not None:
            if self._clock() - self._received_at > self.SAME_SIGNAL_S:
                raise StoppedAtOnceError(signum)
            return
        self.signum = signum
        self._received_at = self._clock()
        if self._immediate:
            raise TrainingInterrupted(signum)
        logger.warning(
            "%s: finishing this iteration, then saving a checkpoint (again to stop at once)",
            signal.Signals(signum).name,
        )

    @staticmethod
    def _on_signal_in_worker(signum: int) -> None:
        """Treat a signal in a forked process, which inherits the handler until it sets its own."""
        if signum == signal.SIGINT:
            # Ctrl-C reaches the whole group; the process may be needed until the iteration is done.
            return
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


class StopOnInterruption(HookBase):
    """Raise TrainingInterrupted after the iteration in which a signal came.

    It belongs at the end of the hooks, so that the iteration is complete. With several
    processes all stop after the same iteration, whichever got the signal.
    """

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def after_step(self) -> None:
        """Stop if any process got a signal."""
        signum = self._interruption.signum
        if comm.get_world_size() > 1:
            signum = next((s for s in comm.all_gather(signum) if s is not None), None)
        if signum is not None:
            raise TrainingInterrupted(signum)
