"""A schedule of checkpoints."""

from pathlib import Path
from typing import Any

from d2_engine.checkpoint.checkpointer import Checkpointer
from d2_engine.checkpoint.files import CheckpointFiles


class PeriodicCheckpointer:
    """Save periodically and at the end, and remove old checkpoints.

    Args:
        checkpointer: does the saving.
        period: iterations between two checkpoints, named ``<file_prefix>_<iteration>``.
        max_iter: number of iterations; when it is reached, ``<file_prefix>_final`` is saved.
        max_to_keep: number of periodic checkpoints to keep, those of earlier starts in the same
            folder included; None keeps all.
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
            self._remove_old(iteration)
        if self.max_iter is not None and iteration >= self.max_iter - 1:
            self.checkpointer.save(self._final_name, **extra)

    def complete(self, iteration: int, **kwargs: Any) -> None:
        """Save the final checkpoint of a training that was killed just before it did.

        So it is where the final checkpoint is damaged and another one took its place. Call it where
        a training begins that has nothing left to do, in every process.

        Args:
            iteration: the last iteration, ``max_iter - 1``.
            kwargs: extra data to save.
        """
        last = self.checkpointer.resumed_from or self.checkpointer.get_checkpoint_file()
        if Path(last).name != f"{self._final_name}.pth":
            self.checkpointer.save(self._final_name, iteration=int(iteration), **kwargs)

    def save(self, name: str, **kwargs: Any) -> None:
        """Save outside the schedule; such checkpoints are never removed."""
        self.checkpointer.save(name, **kwargs)

    @property
    def _final_name(self) -> str:
        return f"{self.file_prefix}_final"

    def _remove_old(self, newest: int) -> None:
        """Remove the oldest beyond ``max_to_keep``; what is newer will be overwritten."""
        if self.max_to_keep is None or not self.checkpointer.save_to_disk:
            return
        saved = CheckpointFiles(self.checkpointer.save_dir).periodic(self.file_prefix)
        old = [path for iteration, path in saved if iteration <= newest]
        for path in old[: -self.max_to_keep]:
            path.unlink(missing_ok=True)
