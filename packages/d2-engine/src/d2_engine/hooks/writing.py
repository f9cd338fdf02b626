"""Metrics to their destinations."""

from collections.abc import Sequence

from d2_engine.events import EventWriter
from d2_engine.train_loop import HookBase


class PeriodicWriter(HookBase):
    """Call ``write`` of each writer every ``period`` iterations and after the last one.

    It belongs behind the hooks whose values it writes. How values are smoothed is the
    writers' affair.

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

    def before_train(self) -> None:
        """Tell the writers where training begins and ends."""
        for writer in self._writers:
            writer.begin_training(self.trainer.start_iter, self.trainer.max_iter)

    def after_step(self) -> None:
        """Write when the period is over or training ends."""
        for writer in self._writers:
            writer.end_iteration()
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Write what came after the last iteration and close the writers."""
        for writer in self._writers:
            writer.write()
            writer.close()
