"""Schedules of their own classes, which detectron2 replaced by parameter schedules in 0.4."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def _get_warmup_factor_at_iter(
    method: str, iter: int, warmup_iters: int, warmup_factor: float
) -> float:
    """The factor on the learning rate during the warm-up; 1 behind it.

    Raises:
        ValueError: if ``method`` is neither ``"constant"`` nor ``"linear"``.
    """
    if iter >= warmup_iters:
        return 1.0
    if method == "constant":
        return warmup_factor
    if method == "linear":
        share = iter / warmup_iters
        return warmup_factor * (1 - share) + share
    raise ValueError(f"the warm-up is 'constant' or 'linear', got {method!r}")


class WarmedLR(LRScheduler):
    """Base: a factor by the iteration, behind a warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_factor: float,
        warmup_iters: int,
        warmup_method: str,
        last_epoch: int,
    ) -> None:
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def factor(self) -> float:
        """The factor behind the warm-up."""
        raise NotImplementedError(f"{type(self).__name__} must implement factor()")

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the current iteration."""
        warmup = _get_warmup_factor_at_iter(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        )
        return [float(rate) * warmup * self.factor() for rate in self.base_lrs]


class WarmupMultiStepLR(WarmedLR):
    """Multiply the learning rate by ``gamma`` at each milestone."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones have to increase, got {list(milestones)}")
        self.milestones = milestones
        self.gamma = gamma
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def factor(self) -> float:
        return float(self.gamma ** bisect_right(self.milestones, self.last_epoch))


class WarmupCosineLR(WarmedLR):
    """Let the learning rate fall to 0 along half a cosine."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        self.max_iters = max_iters
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def factor(self) -> float:
        return 0.5 * (1 + math.cos(math.pi * self.last_epoch / self.max_iters))
