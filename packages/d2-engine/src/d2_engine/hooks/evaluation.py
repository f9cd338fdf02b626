"""Evaluation during training."""

from collections.abc import Callable, Mapping
from typing import Any

from d2_engine.events import ETA
from d2_engine.train_loop import HookBase, TrainerBase
from d2_eval import flatten_results_dict
from d2_structures import comm


class EvalHook(HookBase):
    """Run an evaluation periodically and at the end of training.

    The results are stored as scalars whose names are the keys joined by ``/``. Every process
    has to have this hook; one that is not to evaluate gives ``lambda: None``. Where training is
    resumed from a checkpoint whose evaluation did not come to its end, that is done first; it was
    if the writers, which belong behind this hook, bring its results back.

    Args:
        eval_period: iterations between two evaluations; 0 evaluates at the end only.
        eval_function: takes nothing, returns a (nested) dict of numbers, or None.
        eval_after_train: whether to evaluate at the end.
    """

    def __init__(
        self,
        eval_period: int,
        eval_function: Callable[[], Mapping[str, Any] | None],
        eval_after_train: bool = True,
    ) -> None:
        self._period = eval_period
        self._func: Callable[[], Mapping[str, Any] | None] | None = eval_function
        self._after_train = eval_after_train
        self._of_the_checkpoint: set[str] = set()

    def before_train(self) -> None:
        """Take note of the scalars that a checkpoint holds of its iteration."""
        self._of_the_checkpoint = self._recorded(self.trainer.start_iter - 1)

    def complete_step(self) -> None:
        """Evaluate what is resumed if that was to be done and no results are there."""
        if not is_due(self.trainer, self._period):
            return
        others = self._of_the_checkpoint | {ETA}
        if not comm.all_gather(bool(self._recorded(self.trainer.iter) - others))[0]:
            self._do_eval()

    def after_step(self) -> None:
        """Evaluate when the period is over; the end of training has its own evaluation."""
        if is_due(self.trainer, self._period):
            self._do_eval()

    def after_train(self) -> None:
        """Evaluate if training was completed, then let go of the function."""
        if self._after_train and self.trainer.iter >= self.trainer.max_iter:
            self._do_eval()
        # It usually holds the model and the trainer.
        self._func = None

    def _recorded(self, iteration: int) -> set[str]:
        latest = self.trainer.storage.latest()
        return {name for name, (_, when) in latest.items() if when == iteration}

    def _do_eval(self) -> None:
        if self._func is None:
            return
        results = self._func()
        if results:
            if not isinstance(results, Mapping):
                raise TypeError(
                    f"an evaluation function returns a dict of metrics, got {type(results)}"
                )
            for name, value in _numbers(results).items():
                self.trainer.storage.put_scalar(name, value, smoothing_hint=False)
        # An evaluation may take very different times on different processes.
        comm.synchronize()


def is_due(trainer: TrainerBase, eval_period: int) -> bool:
    """Whether there is an evaluation behind the current iteration, the last one left out."""
    done = trainer.iter + 1
    return eval_period > 0 and done % eval_period == 0 and done != trainer.max_iter


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """Flatten nested metrics and check that they are numbers."""
    numbers = {}
    for name, value in flatten_results_dict(results).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"evaluation result {name} must be a number, got {value!r}") from None
    return numbers
