"""Ending a run on SIGINT or SIGTERM at a point from which it can continue."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
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

    def __reduce__(self) -> tuple[type, tuple[int]]:
        """Let it be raised in the process that started this one."""
        return type(self), (self.signum,)


class Interruption:
    """Catch SIGINT and SIGTERM while the ``with`` block runs.

    The first signal is noted: the iteration in progress is completed, then
    :class:`StopOnInterruption` raises. Within :meth:`immediate` it raises at once. A
    second signal raises KeyboardInterrupt at once.

    Outside the main thread signals cannot be caught; the block then changes nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
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
            raise KeyboardInterrupt
        self.signum = signum
        if self._immediate:
            raise TrainingInterrupted(signum)
        logger.warning(
            "%s: finishing this iteration, then saving a checkpoint (again to stop at once)",
            signal.Signals(signum).name,
        )

    @staticmethod
    def _on_signal_in_worker(signum: int) -> None:
        """Treat a signal in a forked data-loader process, which inherits the handler."""
        if signum == signal.SIGINT:
            # Ctrl-C reaches the whole group; the worker is needed until the iteration is done.
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
