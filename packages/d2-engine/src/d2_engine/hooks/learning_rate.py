"""The learning rate of each iteration."""

import warnings
from collections import Counter
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler as TorchLRScheduler

from d2_engine.solver import LRMultiplier, ParamScheduler
from d2_engine.train_loop import HookBase


class LRScheduler(HookBase):
    """Step a scheduler after every iteration and record the rate as ``lr``.

    Args:
        optimizer: by default ``trainer.optimizer``.
        scheduler: a torch scheduler, or a ParamScheduler that gives the factor on the
            optimizer's learning rates; by default ``trainer.scheduler``.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: TorchLRScheduler | ParamScheduler | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._group = 0
        self._resumed_from: dict[str, Any] = {}

    @property
    def scheduler(self) -> Any:
        """The scheduler in use."""
        return self._scheduler if self._scheduler is not None else self.trainer.scheduler  # type: ignore[attr-defined]  # trainers with a scheduler have it

    def before_train(self) -> None:
        """Find optimizer and scheduler; make a schedule start at the first iteration."""
        optimizer = self._optimizer or self.trainer.optimizer  # type: ignore[attr-defined]  # trainers with an optimizer have it
        self._optimizer = optimizer
        if isinstance(self.scheduler, ParamScheduler):
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
            self._scheduler = LRMultiplier(
                optimizer,
                self.scheduler,
                self.trainer.max_iter,
                last_iter=self.trainer.start_iter - 1,
            )
            self._scheduler.report_changes(self._resumed_from)
        self._group = self.get_best_param_group_id(optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """The group to show: one with the commonest rate, or the largest if all differ."""
        groups = optimizer.param_groups
        rate, count = Counter(group["lr"] for group in groups).most_common(1)[0]
        if count == 1:
            sizes = [len(group["params"]) for group in groups]
            return sizes.index(max(sizes))
        return next(i for i, group in enumerate(groups) if group["lr"] == rate)

    def after_step(self) -> None:
        """Record the rate of this iteration, then go on to the next."""
        assert self._optimizer is not None
        rate = self._optimizer.param_groups[self._group]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a torch scheduler."""
        if isinstance(self.scheduler, TorchLRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the iteration of a state on the schedule and from the rates of this run.

        A ParamScheduler only needs the first iteration, which it gets when training begins.

        Raises:
            ValueError: if a torch scheduler is already beyond that iteration.
        """
        scheduler = self.scheduler
        if isinstance(scheduler, LRMultiplier):
            scheduler.load_state_dict(state_dict)
        elif isinstance(scheduler, TorchLRScheduler):
            _step_to(scheduler, state_dict["last_epoch"])
        else:
            self._resumed_from = state_dict


def _step_to(scheduler: TorchLRScheduler, iteration: int) -> None:
    """Step a scheduler as often as a run that was never stopped did."""
    if scheduler.last_epoch > iteration:
        raise ValueError(
            f"the learning-rate scheduler is at iteration {scheduler.last_epoch}, the checkpoint "
            f"at {iteration}: load the checkpoint with a new scheduler"
        )
    # Some go from the rate at hand to the next; a loaded optimizer may bring a later one.
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate
    with warnings.catch_warnings():
        # The steps of the optimizer between them were made by the run that was stopped.
        warnings.filterwarnings("ignore", r".*`lr_scheduler\.step\(\)` before", UserWarning)
        while scheduler.last_epoch < iteration:
            scheduler.step()
