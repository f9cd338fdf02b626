"""Profiles of chosen iterations."""

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from d2_engine.train_loop import HookBase, TrainerBase

logger = logging.getLogger(__name__)


class TorchProfiler(HookBase):
    """Profile chosen iterations with ``torch.profiler``.

    Each profiled iteration writes ``profiler-trace-iter<N>.json``, to be opened in
    ``chrome://tracing``.

    Args:
        enable_predicate: called with the trainer before each step; whether to profile it.
        output_dir: where the traces go.
        activities: as in ``torch.profiler.profile``.
        save_tensorboard: also write ``output_dir/log`` for TensorBoard's profiler plug-in.

    Example:
        >>> TorchProfiler(lambda trainer: 10 < trainer.iter < 20, "output")
    """

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        activities: Iterable[Any] | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        self._enable_predicate = enable_predicate
        self._output_dir = Path(output_dir)
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler: Any = None

    def before_step(self) -> None:
        """Start a profile if the predicate asks for it."""
        if self._enable_predicate(self.trainer):
            self._output_dir.mkdir(parents=True, exist_ok=True)
            self._profiler = self._make_profiler()
            self._profiler.__enter__()

    def after_step(self) -> None:
        """Finish the profile of this iteration and write it."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)
        trace = self._output_dir / f"profiler-trace-iter{self.trainer.iter}.json"
        profiler.export_chrome_trace(str(trace))
        if self._save_tensorboard:
            log_dir = self._output_dir / "log"
            log_dir.mkdir(exist_ok=True)
            # The plug-in looks for this ending.
            shutil.copyfile(trace, log_dir / f"iter{self.trainer.iter}.pt.trace.json")
        table = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30)
        logger.info("Profile of iteration %d:\n%s", self.trainer.iter, table)

    def _make_profiler(self) -> Any:
        # There is one cycle, so nothing accumulates; torch 2.10 warns of what others would clear.
        return torch.profiler.profile(
            activities=self._activities,
            record_shapes=True,
            profile_memory=True,
            with_flops=True,
            acc_events=True,
        )


class AutogradProfiler(TorchProfiler):
    """Profile chosen iterations with ``torch.autograd.profiler``.

    Args:
        enable_predicate, output_dir: as in :class:`TorchProfiler`.
        use_cuda: also time kernels on CUDA devices.
    """

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        use_cuda: bool = True,
    ) -> None:
        super().__init__(enable_predicate, output_dir, save_tensorboard=False)
        self._use_cuda = use_cuda

    def _make_profiler(self) -> Any:
        on_cuda = self._use_cuda and torch.cuda.is_available()
        return torch.autograd.profiler.profile(use_device="cuda" if on_cuda else None)
