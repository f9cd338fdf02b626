"""Trainers for one model, one optimizer and one stream of data."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from d2_engine.loss_readout import LossReadout, check_finite
from d2_engine.train_loop import TrainerBase
from d2_structures import comm


class SimpleTrainer(TrainerBase):
    """Losses from the model, gradients, update: the usual step and nothing else.

    Everything around the step (checkpoints, logs, evaluation, learning rate) is done by
    hooks. Anything fancier is better written as another ``run_step`` or as a loop of one's own.

    Args:
        model: called with one item of ``data_loader``; returns a dict of scalar losses
            (or one scalar loss). It is put into training mode.
        data_loader: an iterable that does not end before training does.
        optimizer: a torch optimizer.
        gather_metric_period: in distributed training, average the metrics over the
            processes every so many iterations.
        zero_grad_before_forward: clear gradients before the forward pass instead of after
            it; the memory of the old gradients is then free during the forward pass.

    Raises:
        FloatingPointError: from :meth:`run_step`, before the update, if a loss is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self._iterator: Iterator[Any] | None = None

    def run_step(self) -> None:
        """Do one iteration."""
        self._check_training_mode()
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        losses = self._forward(data)
        readout = LossReadout(losses)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self._backward(sum(losses.values(), start=torch.zeros(())))
        self.after_backward()
        self._record(readout.values(), data_time)
        self._update()

    def state_dict(self) -> dict[str, Any]:
        """Return iteration, hooks and the state of the optimizer."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore iteration, hooks and optimizer."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])

    def _check_training_mode(self) -> None:
        if not self.model.training:
            raise RuntimeError(
                "the model was switched to evaluation mode during training; a hook that calls "
                "model.eval() has to call model.train() when it is done"
            )

    def _next_batch(self) -> tuple[Any, float]:
        """Return the next batch and the seconds spent waiting for it."""
        start = time.perf_counter()
        # Created late: worker processes start with the first step.
        if self._iterator is None:
            self._iterator = iter(self.data_loader)
        try:
            data = next(self._iterator)
        except StopIteration:
            raise RuntimeError(
                f"the data loader ended at iteration {self.iter}; training needs one that goes "
                "on, e.g. with a TrainingSampler"
            ) from None
        return data, time.perf_counter() - start

    def _forward(self, data: Any) -> dict[str, Tensor]:
        losses = self.model(data)
        if isinstance(losses, Tensor):
            return {"total_loss": losses}
        if not losses:
            raise ValueError(f"the model returned no losses at iteration {self.iter}")
        return losses

    def _backward(self, total_loss: Tensor) -> None:
        total_loss.backward()

    def _update(self) -> None:
        self.optimizer.step()

    def _record(self, losses: dict[str, float], data_time: float) -> None:
        """Check the losses and put the metrics of this iteration into the storage."""
        check_finite(losses, self.iter)
        if (self.iter + 1) % self.gather_metric_period == 0:
            gathered = comm.gather({**losses, "data_time": data_time})
            if not comm.is_main_process():
                return
            # The slowest process makes the others wait.
            data_time = max(metrics.pop("data_time") for metrics in gathered)
            losses = {
                name: sum(metrics[name] for metrics in gathered) / len(gathered)
                for name in gathered[0]
            }
        elif not comm.is_main_process():
            return
        self.storage.put_scalar("data_time", data_time)
        self.storage.put_scalar("total_loss", sum(losses.values()))
        if len(losses) > 1:
            for name, value in losses.items():
                self.storage.put_scalar(name, value)


class AMPTrainer(SimpleTrainer):
    """:class:`SimpleTrainer` with PyTorch's automatic mixed precision.

    Args:
        model, data_loader, optimizer, gather_metric_period, zero_grad_before_forward:
            as in :class:`SimpleTrainer`.
        grad_scaler: a ``torch.amp.GradScaler``; by default one that scales for float16 only.
        precision: dtype of the forward pass; by default float16 on CUDA and bfloat16 on CPU,
            where float16 is slow and would need scaling.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        grad_scaler: torch.amp.GradScaler | None = None,
        *,
        precision: torch.dtype | None = None,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
    ) -> None:
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period=gather_metric_period,
            zero_grad_before_forward=zero_grad_before_forward,
        )
        self._device_type = next(model.parameters()).device.type
        if precision is None:
            precision = torch.float16 if self._device_type == "cuda" else torch.bfloat16
        self.precision = precision
        if grad_scaler is None:
            grad_scaler = torch.amp.GradScaler(
                self._device_type, enabled=precision == torch.float16
            )
        self.grad_scaler = grad_scaler

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the trainer and of the gradient scaler."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the trainer and the gradient scaler."""
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])

    def _forward(self, data: Any) -> dict[str, Tensor]:
        with torch.autocast(self._device_type, dtype=self.precision):
            return super()._forward(data)

    def _backward(self, total_loss: Tensor) -> None:
        self.grad_scaler.scale(total_loss).backward()

    def _update(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
