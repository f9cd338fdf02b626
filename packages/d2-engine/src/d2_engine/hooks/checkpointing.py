"""When a training run is saved."""

import logging
import math
import operator

from d2_engine.checkpoint import Checkpointer
from d2_engine.checkpoint import PeriodicCheckpointer as CheckpointSchedule
from d2_engine.hooks.evaluation import is_due
from d2_engine.train_loop import HookBase
from d2_structures import comm

logger = logging.getLogger(__name__)


class PeriodicCheckpointer(CheckpointSchedule, HookBase):
    """:class:`d2_engine.checkpoint.PeriodicCheckpointer` as a hook.

    It saves every ``period`` iterations and after the last one, and only what the
    checkpointer itself knows: hand it the trainer as a checkpointable to be able to resume.
    """

    def before_train(self) -> None:
        """Take over where training ends; save at once what a killed run could not at its end."""
        self.max_iter = self.trainer.max_iter
        if self.trainer.start_iter >= self.max_iter > 0:
            self.complete(self.max_iter - 1)

    def after_step(self) -> None:
        """Save when it is time."""
        self.step(self.trainer.iter)


class BestCheckpointer(HookBase):
    """Keep the checkpoint with the best value of a validation metric.

    It belongs behind the :class:`EvalHook` that produces the metric.

    Args:
        eval_period: the period of that hook.
        checkpointer: saves ``<file_prefix>.pth``; the file is replaced by a better one.
        val_metric: name of the scalar, e.g. ``"bbox/AP50"``.
        mode: ``"max"`` or ``"min"``: which way is better.
        file_prefix: name of the checkpoint.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"mode is 'max' or 'min', got {mode!r}")
        self._period = eval_period
        self._checkpointer = checkpointer
        self._val_metric = val_metric
        self._better = operator.gt if mode == "max" else operator.lt
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def after_step(self) -> None:
        """Look at the metric after an evaluation during training."""
        if is_due(self.trainer, self._period):
            self._check()

    def complete_step(self) -> None:
        """Look at the metric of an evaluation that came after the checkpoint was saved."""
        if is_due(self.trainer, self._period):
            self._check()

    def after_train(self) -> None:
        """Look at the metric of the last evaluation."""
        if self.trainer.iter >= self.trainer.max_iter:
            self._check()

    def state_dict(self) -> dict[str, float | int | None]:
        """Return the best value and its iteration."""
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Restore the best value and its iteration."""
        self.best_metric = state["best_metric"]
        self.best_iter = None if state["best_iter"] is None else int(state["best_iter"])

    def _check(self) -> None:
        # The main process knows the metric; saving may be the work of all.
        latest = comm.all_gather(self.trainer.storage.latest().get(self._val_metric))[0]
        if latest is None:
            logger.warning("No value of %r to choose the best checkpoint by", self._val_metric)
            return
        value, iteration = latest
        if not math.isfinite(value):
            return
        if self.best_metric is None or self._better(value, self.best_metric):
            self.best_metric, self.best_iter = value, iteration
            done = min(self.trainer.iter, self.trainer.max_iter - 1)
            self._checkpointer.save(self._file_prefix, iteration=done)
            logger.info("Best %s so far: %.5g at iteration %d", self._val_metric, value, iteration)
