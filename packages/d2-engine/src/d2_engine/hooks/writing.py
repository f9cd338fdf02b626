"""Metrics to their destinations."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from d2_engine.events import EventWriter
from d2_engine.train_loop import HookBase


class PeriodicWriter(HookBase):
    """Call ``write`` of each writer every ``period`` iterations and after the last one.

    It belongs behind the hooks whose values it writes. How values are smoothed is the
    writers' affair. A checkpoint keeps what was written, so that a resumed training writes the rest
    once and the same.

    Args:
        writers: objects with ``write()`` and ``close()``.
        period: iterations between two writes.
    """

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        for writer in writers:
            if not isinstance(writer, EventWriter):
                raise TypeError(f"a writer is an instance of EventWriter, got {type(writer)}")
        if period < 1:
            raise ValueError(f"period must be at least 1, got {period}")
        self._writers = list(writers)
        self._period = period
        self._written = -1
        self._period_before: int | None = None

    def before_train(self) -> None:
        """Tell the writers where training begins and ends."""
        for writer in self._writers:
            if self._period_before is not None:
                writer.continue_after(self._written)
            writer.begin_training(self.trainer.start_iter, self.trainer.max_iter)

    def complete_step(self) -> None:
        """Write what was to be written in the iteration of the checkpoint."""
        if self._period_before is not None and self._is_due(self._period_before):
            self._write()

    def after_step(self) -> None:
        """Write when the period is over or training ends."""
        for writer in self._writers:
            writer.end_iteration()
        if self._is_due(self._period):
            self._write()

    def after_train(self) -> None:
        """Write what came after the last iteration and close the writers."""
        with ExitStack() as closing:
            for writer in reversed(self._writers):
                closing.callback(writer.close)
            for writer in self._writers:
                writer.write()

    def state_dict(self) -> dict[str, Any]:
        """Return the period, and the iteration of the last periodic write, -1 before the first."""
        return {"written": self._written, "period": self._period}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take note of what was written, and with which period."""
        self._written = int(state_dict["written"])
        self._period_before = int(state_dict["period"])

    def _is_due(self, period: int) -> bool:
        done = self.trainer.iter + 1
        return bool(done % period == 0 or done == self.trainer.max_iter)

    def _write(self) -> None:
        for writer in self._writers:
            writer.write()
        self._written = self.trainer.iter
