"""DeepLab's schedule as a class of its own; d2's solver builds it from a config."""

from torch.optim import Optimizer

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
