"""How long iterations take."""

import datetime
import logging
import time

from d2_engine.train_loop import HookBase

logger = logging.getLogger(__name__)


class IterationTimer(HookBase):
    """Record the seconds of each iteration as ``time``; log a summary at the end.

    Measured is the time between this hook's ``before_step`` and ``after_step``, so it belongs
    at the beginning of the list of hooks.

    Args:
        warmup_iter: number of first iterations that are left out.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._step_start = 0.0
        self._start = 0.0
        self._in_steps = 0.0

    def before_train(self) -> None:
        """Start the clock."""
        self._start = time.perf_counter()
        self._in_steps = 0.0

    def before_step(self) -> None:
        """Note when the iteration starts."""
        self._step_start = time.perf_counter()

    def after_step(self) -> None:
        """Store the time of the iteration."""
        now = time.perf_counter()
        seconds = now - self._step_start
        is_warm = self.trainer.iter - self.trainer.start_iter + 1 > self._warmup_iter
        # A resumed series goes on without a gap.
        if is_warm or "time" in self.trainer.storage.histories():
            self.trainer.storage.put_scalars(time=seconds)
        if is_warm:
            self._in_steps += seconds
        else:
            self._start = now

    def after_train(self) -> None:
        """Log speed and the share of hooks in the total time."""
        total = time.perf_counter() - self._start
        iterations = self.trainer.iter - self.trainer.start_iter - self._warmup_iter
        if iterations <= 0 or self._in_steps == 0:
            return
        logger.info(
            "Training speed: %d iterations in %s (%.4f s each); in total %s, of which %s in hooks",
            iterations,
            _shown(self._in_steps),
            self._in_steps / iterations,
            _shown(total),
            _shown(total - self._in_steps),
        )


def _shown(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
