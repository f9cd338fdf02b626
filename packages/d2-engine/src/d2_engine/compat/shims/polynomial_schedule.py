"""DeepLab's schedule, a polynomial of the iteration, which d2's solver does not name."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2_engine import solver
from d2_engine.compat.shims.schedules import WarmedLR


class WarmupPolyLR(WarmedLR):
    """Let the learning rate fall as ``(1 - iteration / max_iters) ** power``.

    Args:
        constant_ending: behind the warm-up the factor does not fall below it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
        power: float = 0.9,
        constant_ending: float = 0.0,
    ) -> None:
        self.max_iters = max_iters
        self.power = power
        self.constant_ending = constant_ending
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def factor(self) -> float:
        """The factor behind the warm-up."""
        factor = float(max(1 - self.last_epoch / self.max_iters, 0.0) ** self.power)
        if self.last_epoch >= self.warmup_iters:
            return max(factor, self.constant_ending)
        return factor


def build_lr_scheduler(cfg: Any, optimizer: Optimizer) -> LRScheduler:
    """Build the schedule that ``cfg.SOLVER.LR_SCHEDULER_NAME`` names, ``WarmupPolyLR`` included."""
    options = cfg.SOLVER
    if options.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return solver.build_lr_scheduler(cfg, optimizer)
    return WarmupPolyLR(
        optimizer,
        options.MAX_ITER,
        warmup_factor=options.WARMUP_FACTOR,
        warmup_iters=options.WARMUP_ITERS,
        warmup_method=options.WARMUP_METHOD,
        power=options.POLY_LR_POWER,
        constant_ending=options.POLY_LR_CONSTANT_ENDING,
    )
