"""A schedule of checkpoints."""

from collections import deque
from pathlib import Path
from typing import Any

from d2_engine.checkpoint.checkpointer import Checkpointer


class PeriodicCheckpointer:
    """Save periodically and at the end, and remove old checkpoints.

    Args:
        checkpointer: does the saving.
        period: iterations between two checkpoints, named ``<file_prefix>_<iteration>``.
        max_iter: number of iterations; when it is reached, ``<file_prefix>_final`` is saved.
        max_to_keep: number of periodic checkpoints to keep; None keeps all.
        file_prefix: beginning of the file names.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        period: int,
        max_iter: int | None = None,
        max_to_keep: int | None = None,
        file_prefix: str = "model",
    ) -> None:
        if period < 1:
            raise ValueError(f"period must be at least 1 iteration, got {period}")
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(f"max_to_keep must be at least 1, got {max_to_keep}")
        self.checkpointer = checkpointer
        self.period = int(period)
        self.max_iter = max_iter
        self.max_to_keep = max_to_keep
        self.file_prefix = file_prefix
        self._kept: deque[Path] = deque()

    def step(self, iteration: int, **kwargs: Any) -> None:
        """Save if ``iteration`` ends a period or the training.

        Args:
            iteration: the iteration just completed, in [0, max_iter - 1].
            kwargs: extra data to save; ``iteration`` is saved in any case.
        """
        extra = {"iteration": int(iteration), **kwargs}
        if (iteration + 1) % self.period == 0:
            name = f"{self.file_prefix}_{iteration:07d}"
            self.checkpointer.save(name, **extra)
            self._remove_old(name)
        if self.max_iter is not None and iteration >= self.max_iter - 1:
            self.checkpointer.save(f"{self.file_prefix}_final", **extra)

    def save(self, name: str, **kwargs: Any) -> None:
        """Save outside the schedule; such checkpoints are never removed."""
        self.checkpointer.save(name, **kwargs)

    def _remove_old(self, newest: str) -> None:
        if self.max_to_keep is None or not self.checkpointer.save_to_disk:
            return
        self._kept.append(Path(self.checkpointer.save_dir, f"{newest}.pth"))
        while len(self._kept) > self.max_to_keep:
            self._kept.popleft().unlink(missing_ok=True)
