"""Batch-norm statistics that are averages instead of moving averages."""

import contextlib
import itertools
import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from d2_engine.train_loop import HookBase
from d2_modeling.events import EventStorage

logger = logging.getLogger(__name__)


class PreciseBN(HookBase):
    """Put true averages into the batch-norm layers every ``period`` iterations and at the end.

    Batch norm in evaluation uses moving averages, which lag behind the weights. This hook
    runs the model over some batches and stores the mean and the variance over all of them.

    Args:
        period: iterations between two updates; 0 updates at the end only.
        model: layers in training mode are updated; the caller sees to the mode.
        data_loader: yields what the model is called with. Every update begins it anew, so a
            resumed run sees the same batches; an iterator goes on where it was.
        num_iter: number of batches.
        precision: dtype of autocast for these passes, as in training with mixed precision; None
            runs them without.
    """

    def __init__(
        self,
        period: int,
        model: nn.Module,
        data_loader: Iterable[Any],
        num_iter: int,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        self._period = period
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter
        self._precision = precision

    def after_step(self) -> None:
        """Update when the period is over or training ends."""
        done = self.trainer.iter + 1
        if (self._period > 0 and done % self._period == 0) or done == self.trainer.max_iter:
            self.update_stats()

    def update_stats(self) -> None:
        """Replace the statistics of the layers in training mode."""
        layers = _active_batch_norms(self._model)
        if not layers:
            logger.info("PreciseBN: no batch-norm layer is in training mode")
            return
        batches = itertools.islice(self._data_loader, self._num_iter)
        # Events of these passes are not part of training.
        with EventStorage(), torch.no_grad(), self._autocast():
            update_batch_norm_stats(self._model, layers, batches)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision is None:
            return contextlib.nullcontext()
        device = next(self._model.parameters()).device
        return torch.autocast(device.type, dtype=self._precision)


def update_batch_norm_stats(
    model: nn.Module, layers: list[_BatchNorm], batches: Iterable[Any]
) -> None:
    """Run the model over batches and store mean and variance over all of them.

    Weights each batch equally. The variance is that of the whole: the mean of the batches'
    variances plus the variance of their means.
    """
    momenta = [layer.momentum for layer in layers]
    sums: list[tuple[Tensor, Tensor]] = [
        (torch.zeros_like(_mean(layer)), torch.zeros_like(_var(layer))) for layer in layers
    ]
    count = 0
    try:
        for layer in layers:
            # The running statistics are then exactly those of the last batch.
            layer.momentum = 1.0
        for batch in batches:
            model(batch)
            count += 1
            for layer, (mean_sum, square_sum) in zip(layers, sums, strict=True):
                mean_sum += _mean(layer)
                square_sum += _var(layer) + _mean(layer) ** 2
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if count == 0:
        raise ValueError("PreciseBN got no batch from its data loader")
    for layer, (mean_sum, square_sum) in zip(layers, sums, strict=True):
        mean = mean_sum / count
        _mean(layer).copy_(mean)
        _var(layer).copy_(square_sum / count - mean**2)


def _active_batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]


def _mean(layer: _BatchNorm) -> Tensor:
    assert layer.running_mean is not None
    return layer.running_mean


def _var(layer: _BatchNorm) -> Tensor:
    assert layer.running_var is not None
    return layer.running_var
