"""Run a model over a dataset and time it."""

from __future__ import annotations

import datetime
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from d2_config.logger import FILE_ONLY
from d2_eval.evaluator import DatasetEvaluator, Evaluators, as_evaluator
from d2_eval.live import Fact, ProgressBar
from d2_structures.comm import get_world_size

_logger = logging.getLogger(__name__)

_WARMUP_BATCHES = 5
_SECONDS_BETWEEN_LOGS = 5
_CALLBACKS = ("on_start", "before_inference", "after_inference", "on_end")


class SizedLoader(Sized, Iterable[Any], Protocol):
    """An iterable of batches that knows how many there are."""


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode and restore its previous mode afterwards.

    Args:
        model: the module; only its own mode is remembered, as ``model.train`` sets all below it.
    """
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def inference_on_dataset(
    model: Callable[[Any], Any],
    data_loader: SizedLoader,
    evaluator: DatasetEvaluator | Evaluators | None,
    callbacks: Mapping[str, Callable[[], object]] | None = None,
) -> Any:
    """Run a model over all batches and evaluate its outputs, without gradients.

    The speed of ``model.__call__`` is measured apart from loading and evaluating, the first
    batches left out, CUDA waited for, and logged. In a terminal a bar shows how far it is, if rich
    is installed; elsewhere a line is printed every five seconds.

    Args:
        model: takes a batch of the loader and returns outputs. A ``torch.nn.Module`` is put into
            eval mode meanwhile; to evaluate in training mode, wrap it and override ``train`` and
            ``eval``.
        data_loader: an iterable with a length.
        evaluator: one; a list or a mapping of several, as for
            :class:`~d2_eval.DatasetEvaluators`; None to measure the speed only.
        callbacks: functions without arguments to be called at ``"on_start"``,
            ``"before_inference"``, ``"after_inference"`` (both for each batch) and ``"on_end"``.

    Returns:
        What ``evaluator.evaluate()`` returns, an empty dict in place of None.

    Raises:
        TypeError: if the loader has no length, or ``evaluator`` is none.
        ValueError: if ``callbacks`` has another key.
    """
    callbacks = _checked_callbacks(callbacks)
    if not isinstance(data_loader, Sized):
        raise TypeError(
            f"data_loader needs a length to show the progress, got {type(data_loader).__name__}"
        )
    total = len(data_loader)
    evaluator = as_evaluator([] if evaluator is None else evaluator)
    evaluator.reset()
    _logger.info("Start inference on %d batches", total)
    bar = ProgressBar("evaluate", total, unit="batch")
    stopwatch = _Stopwatch(total, bar)
    with ExitStack() as stack:
        stack.enter_context(bar)
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        callbacks["on_start"]()
        stopwatch.start()
        for inputs in data_loader:
            stopwatch.lap("data")
            callbacks["before_inference"]()
            outputs = model(inputs)
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            stopwatch.lap("compute")
            callbacks["after_inference"]()
            evaluator.process(inputs, outputs)
            stopwatch.lap("evaluate")
            stopwatch.end_batch()
        callbacks["on_end"]()
    stopwatch.log_totals()
    results = evaluator.evaluate()
    return {} if results is None else results


def _checked_callbacks(
    callbacks: Mapping[str, Callable[[], object]] | None,
) -> dict[str, Callable[[], object]]:
    given = dict(callbacks or {})
    unknown = sorted(set(given) - set(_CALLBACKS))
    if unknown:
        raise ValueError(f"callbacks know {list(_CALLBACKS)}, got {unknown}")
    return {name: given.get(name, lambda: None) for name in _CALLBACKS}


class _Stopwatch:
    """Seconds spent on loading, computing and evaluating since the warm-up.

    Args:
        total: number of batches.
        bar: counts them as well.
    """

    def __init__(self, total: int, bar: ProgressBar) -> None:
        self._total = total
        self._bar = bar
        self._warmup = max(min(_WARMUP_BATCHES, total - 1), 0)
        self._done = 0
        self._last_logged = -math.inf
        self.start()

    def start(self) -> None:
        self._seconds = {"data": 0.0, "compute": 0.0, "evaluate": 0.0}
        self._started = self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self._seconds[part] += now - self._last
        self._last = now

    def end_batch(self) -> None:
        self._done += 1
        self._bar.advance()
        if (passed := self._last - self._started) > 0:
            waiting = Fact(f"data {self._seconds['data'] / passed:.0%}", rank=2)
            self._bar.facts = (waiting,)
        if self._done == self._warmup:
            self.start()
        elif self._done > self._warmup and self._last - self._last_logged >= _SECONDS_BETWEEN_LOGS:
            self._last_logged = self._last
            self._log_progress()

    def _log_progress(self) -> None:
        counted = self._done - self._warmup
        per_batch = (self._last - self._started) / counted
        remaining = datetime.timedelta(seconds=int(per_batch * (self._total - self._done)))
        _logger.info(
            "Inference done %d/%d. Dataloading: %.4f s/iter. Inference: %.4f s/iter. "
            "Eval: %.4f s/iter. Total: %.4f s/iter. ETA=%s",
            self._done,
            self._total,
            self._seconds["data"] / counted,
            self._seconds["compute"] / counted,
            self._seconds["evaluate"] / counted,
            per_batch,
            remaining,
            extra=FILE_ONLY if self._bar.visible else None,
        )

    def log_totals(self) -> None:
        counted = self._done - self._warmup
        if counted <= 0:
            return
        for label, seconds in (
            ("Total inference time", self._last - self._started),
            ("Total inference pure compute time", self._seconds["compute"]),
        ):
            _logger.info(
                "%s: %s (%.6f s / iter per device, on %d devices)",
                label,
                datetime.timedelta(seconds=int(seconds)),
                seconds / counted,
                get_world_size(),
            )
