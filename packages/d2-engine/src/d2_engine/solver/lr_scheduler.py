"""Learning-rate schedulers for torch optimizers."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2_engine.solver.optimizer_state import report_change
from d2_engine.solver.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)


class WarmupParamScheduler(CompositeParamScheduler):
    """Put a warm-up in front of another schedule.

    The warm-up leads from ``warmup_factor`` times the schedule's first value to the value
    that the schedule has where the warm-up ends.

    Args:
        scheduler: the schedule of the whole run.
        warmup_factor: first value, relative to the schedule's first value, e.g. 0.001.
        warmup_length: share of the run, in [0, 1], e.g. 0.01. With 0 there is no warm-up.
        warmup_method: ``"linear"``, or ``"constant"``: the first value until the warm-up ends.
        rescale_interval: if true, the schedule starts after the warm-up and is squeezed
            into the rest of the run; otherwise the warm-up covers its beginning.

    Raises:
        ValueError: on another ``warmup_method`` or a length outside [0, 1].
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        if not 0 <= warmup_length <= 1:
            raise ValueError(
                f"warmup_length is a share of the run in [0, 1], got {warmup_length}; "
                "divide the number of warm-up iterations by the number of training iterations"
            )
        start = warmup_factor * scheduler(0.0)
        end = scheduler(0.0 if rescale_interval else warmup_length)
        warmup: ParamScheduler
        if warmup_method == "linear":
            warmup = LinearParamScheduler(start, end)
        elif warmup_method == "constant":
            warmup = ConstantParamScheduler(start)
        else:
            raise ValueError(f"warmup_method is 'linear' or 'constant', got {warmup_method!r}")
        super().__init__(
            [warmup, scheduler],
            lengths=[warmup_length, 1 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
        )


class WarmupPolyParamScheduler(ParamScheduler):
    """``(1 - where) ** power``, multiplied in the beginning with a rising factor.

    Args:
        power: of the decay.
        constant_ending: what the value does not fall below once it is warm; 0 for no such end.
        warmup_factor: first value of the factor, which ends at 1.
        warmup_length: share of the run, in [0, 1], in which it rises.
        warmup_method: ``"linear"``, or ``"constant"``: the first value until the warm-up ends.

    Raises:
        ValueError: on another ``warmup_method`` or a length outside [0, 1].

    Source: Chen et al., "Rethinking Atrous Convolution", 2017, section 4.1.
    """

    def __init__(
        self,
        power: float,
        constant_ending: float = 0.0,
        warmup_factor: float = 1.0,
        warmup_length: float = 0.0,
        warmup_method: str = "linear",
    ) -> None:
        self._power = power
        self._constant_ending = constant_ending
        flat = ConstantParamScheduler(1.0)
        self._warmup = WarmupParamScheduler(flat, warmup_factor, warmup_length, warmup_method)

    def __call__(self, where: float) -> float:
        decayed = (1.0 - where) ** self._power
        factor = self._warmup(where)
        return max(decayed, self._constant_ending) if factor == 1.0 else factor * decayed


class LRMultiplier(LRScheduler):
    """Multiply the initial learning rate of every parameter group by a schedule.

    Groups keep their ratio to each other. The checkpointed state is a few plain values, so
    it can be loaded without running code.

    Args:
        optimizer: its groups' current ``lr`` are the initial rates.
        multiplier: factor on the initial rates, a function of progress in [0, 1].
        max_iter: number of training iterations; progress is ``iteration / max_iter``. Behind
            them the last rate holds.
        last_iter: the iteration before the first, -1 for a new run.

    Example:
        >>> LRMultiplier(
        ...     optimizer,
        ...     WarmupParamScheduler(
        ...         MultiStepParamScheduler([1, 0.1], num_updates=900, milestones=[600]),
        ...         warmup_factor=0.001,
        ...         warmup_length=100 / 900,
        ...     ),
        ...     max_iter=900,
        ... )
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ) -> None:
        if not isinstance(multiplier, ParamScheduler):
            raise TypeError(
                f"LRMultiplier needs a ParamScheduler as multiplier, got {type(multiplier)}"
            )
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        """Return the iteration, and in words which schedule it belongs to."""
        return {
            "base_lrs": self.base_lrs,
            "last_epoch": self.last_epoch,
            "max_iter": self._max_iter,
            "schedule": repr(self._multiplier),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the iteration of a state, and to the learning rates there.

        Initial rates, schedule and number of iterations stay those of this object; where the
        state has another schedule or number, the log says so.
        """
        self.report_changes(state_dict)
        self.last_epoch = state_dict["last_epoch"]
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def report_changes(self, state_dict: dict[str, Any]) -> None:
        """Log what this schedule has in another way than that of a state."""
        own = self.state_dict()
        for key, what in (("max_iter", "iterations"), ("schedule", "learning-rate schedule")):
            if key in state_dict and state_dict[key] != own[key]:
                report_change(what, state_dict[key], own[key])

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each group at the current iteration."""
        factor = self._multiplier(min(self.last_epoch / self._max_iter, 1.0))
        return [base_lr * factor for base_lr in self.base_lrs]
