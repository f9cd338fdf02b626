"""Weights averaged over the iterations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from d2_engine.checkpoint.averaged_weights import AVERAGED_WEIGHTS
from d2_engine.sharding import divided_like
from d2_engine.train_loop import HookBase
from d2_engine.wrapped_models import unwrapped


class EMA(HookBase):
    """Keep an exponential moving average of the parameters, to evaluate and use instead of them.

    After each iteration ``average = d * average + (1 - d) * parameter``, beginning with the
    parameters that training begins with. It belongs before the hooks that evaluate and save.

    The averages are in every checkpoint that holds the trainer: :func:`ema_weights` takes them
    out, ``Checkpointer.load(path, prefer_ema=True)`` loads them. Buffers are not averaged: the
    model's own go with the averaged parameters.

    Args:
        model: maybe wrapped in DistributedDataParallel.
        decay: ``d``, in [0, 1).
        warmup: begin with a smaller one, ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates,
            so that a short run is not held at its initial weights.

    Raises:
        ValueError: if ``decay`` is out of range.

    Example:
        >>> ema = hooks.EMA(model, decay=0.9998)
        >>> trainer.register_hooks([ema, hooks.EvalHook(5000, evaluate)])
        >>> with ema.applied():
        ...     evaluate()
    """

    def __init__(self, model: nn.Module, decay: float = 0.9998, *, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay of averaged weights is in [0, 1), e.g. 0.9998; got {decay}")
        self._parameters = dict(unwrapped(model).named_parameters())
        self._decay = decay
        self._warmup = warmup
        self._averages: dict[str, Tensor] = {}
        self._updates = 0

    def before_train(self) -> None:
        """Begin with the model's weights, unless averages were loaded."""
        if not self._averages:
            self._averages = {n: p.detach().clone() for n, p in self._parameters.items()}

    def after_step(self) -> None:
        """Take the new weights into the average."""
        decay = self._decay
        if self._warmup:
            decay = min(decay, (1 + self._updates) / (10 + self._updates))
        update = get_ema_multi_avg_fn(decay)
        update(list(self._averages.values()), list(self._parameters.values()), self._updates)
        self._updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model its averaged weights while the ``with`` block runs.

        Until training begins there are no averages: the model then keeps its own weights. What
        may raise at any moment, as :meth:`Interruption.immediate` does, belongs inside the block:
        weights are exchanged where it begins and ends.
        """
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # By value: compiled models and captured graphs know the memory of the parameters.
        for name, average in self._averages.items():
            parameter = self._parameters[name]
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages by parameter name, and the number of updates."""
        if not self._averages:
            return {}
        return {"updates": self._updates, AVERAGED_WEIGHTS: dict(self._averages)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: if the averages are those of other parameters.
        """
        averages = state_dict[AVERAGED_WEIGHTS]
        shapes = {name: parameter.shape for name, parameter in self._parameters.items()}
        if {name: average.shape for name, average in averages.items()} != shapes:
            differing = sorted(n for n in shapes.keys() ^ averages.keys()) or sorted(
                n for n in shapes if averages[n].shape != shapes[n]
            )
            raise ValueError(
                "the averaged weights (EMA) of the checkpoint are not those of this model, "
                f"beginning with {differing[0]!r}: resume with the config of the run"
            )
        self._updates = state_dict["updates"]
        self._averages = {
            name: divided_like(
                averages[name].to(parameter.device, parameter.dtype, copy=True), parameter
            )
            for name, parameter in self._parameters.items()
        }
