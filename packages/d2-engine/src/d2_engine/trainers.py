"""Trainers for one model, one optimizer and one stream of data."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_engine.loss_readout import LossReadout, check_finite, file_names, naming_files
from d2_engine.sharding import without_exchange
from d2_engine.solver.optimizer_state import load_optimizer_state, optimizer_state
from d2_engine.train_loop import TrainerBase
from d2_modeling.events import get_event_storage
from d2_structures import comm

logger = logging.getLogger(__name__)

AMP_PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Precisions of :class:`AMPTrainer` by the names that configs use."""


class SimpleTrainer(TrainerBase):
    """Losses from the model, gradients, update: the usual step and nothing else.

    Everything around the step (checkpoints, logs, evaluation, learning rate) is done by
    hooks. Anything fancier is better written as another ``run_step`` or as a loop of one's own.

    An iteration takes ``accumulate`` batches from the stream, so ``n`` iterations consume
    ``n * accumulate`` of them; :attr:`batches_consumed` counts them and is kept in checkpoints, and
    so is the state of a loader that has one. Resuming, give both to
    :func:`~d2_engine.data_position.starting_at`.

    Args:
        model: called with one item of ``data_loader``; returns a dict of scalar losses
            (or one scalar loss). It is put into training mode.
        data_loader: an iterable that does not end before training does.
        optimizer: a torch optimizer.
        accumulate: number of batches whose losses are averaged to one update. For losses that
            are means over the images, the gradient is that of one batch of all their images.
        gather_metric_period: in distributed training, average the metrics over the
            processes every so many iterations.
        zero_grad_before_forward: clear gradients before the forward pass instead of after
            it; the memory of the old gradients is then free during the forward pass.

    Attributes:
        data_state (dict | None): the state of the loader in the checkpoint that was loaded.

    Raises:
        FloatingPointError: from :meth:`run_step`, before the update, if a loss is not finite.
        ValueError: if ``accumulate`` is less than 1.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        accumulate: int = 1,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
    ) -> None:
        super().__init__()
        if accumulate < 1:
            raise ValueError(f"accumulate is a number of batches, at least 1; got {accumulate}")
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.accumulate = accumulate
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.data_state: dict[str, Any] | None = None
        self._consumed_before = 0
        self._batches: _CountedBatches | None = None

    @property
    def batches_consumed(self) -> int:
        """How many batches were taken from the stream, in this process."""
        return self._consumed_before + (0 if self._batches is None else self._batches.taken)

    @batches_consumed.setter
    def batches_consumed(self, count: int) -> None:
        self._consumed_before = count - (0 if self._batches is None else self._batches.taken)

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        """The stream, for steps of one's own; what is taken from it counts."""
        # Created late: worker processes start with the first step.
        if self._batches is None:
            self._batches = _CountedBatches(self.data_loader)
        return self._batches

    @_data_loader_iter.setter
    def _data_loader_iter(self, batches: Iterable[Any]) -> None:
        self._consumed_before = self.batches_consumed
        self._batches = _CountedBatches(batches)

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable[Any]]) -> None:
        """Go on with other data.

        Args:
            data_loader_builder: returns the loader; the old one is let go of before.
        """
        self._consumed_before = self.batches_consumed
        self._batches = None
        self.data_loader = ()
        self.data_loader = data_loader_builder()

    def run_step(self) -> None:
        """Do one iteration."""
        self._check_training_mode()
        readouts = []
        files: list[str] = []
        data_time = 0.0
        for index in range(self.accumulate):
            data, waited = self._next_batch()
            data_time += waited
            last = index == self.accumulate - 1
            # Processes exchange gradients once, when they are complete.
            with contextlib.nullcontext() if last else self._without_exchange():
                readouts.append(self._add_gradients(data, clear=index == 0))
            files += file_names(data)
        self._complete_gradients()
        self.after_backward()
        losses = _averages([readout.values() for readout in readouts])
        with naming_files(files):
            self._write_metrics(
                {name: torch.tensor(value, dtype=torch.float64) for name, value in losses.items()},
                data_time,
            )
        self._update()

    def state_dict(self) -> dict[str, Any]:
        """Return iteration, hooks, position in the data and the state of the optimizer."""
        of_data = getattr(self.data_loader, "state_dict", None)
        return {
            **super().state_dict(),
            "batches_consumed": self.batches_consumed,
            **({} if of_data is None else {"data": of_data()}),
            "optimizer": optimizer_state(self.optimizer, self.model),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Hyper-parameters (learning rate, weight decay, momentum) stay those of this trainer's
        optimizer; where the state has others, the log says so.

        Raises:
            ValueError: if the state is of another kind of optimizer, or of other parameters.
        """
        super().load_state_dict(state_dict)
        # Checkpoints that do not have it took one batch for each iteration and process.
        self.batches_consumed = state_dict.get("batches_consumed", self.start_iter)
        self.data_state = state_dict.get("data")
        if "optimizer" in state_dict:
            load_optimizer_state(self.optimizer, self.model, state_dict["optimizer"])
        else:
            logger.warning("The checkpoint holds no state of the optimizer, which begins anew")

    def _check_training_mode(self) -> None:
        if not self.model.training:
            raise RuntimeError(
                "the model was switched to evaluation mode during training; a hook that calls "
                "model.eval() has to call model.train() when it is done"
            )

    def _next_batch(self) -> tuple[Any, float]:
        """Return the next batch and the seconds spent waiting for it."""
        start = time.perf_counter()
        try:
            data = next(self._data_loader_iter)
        except StopIteration:
            raise RuntimeError(
                f"the data loader ended at iteration {self.iter}; training needs one that goes "
                "on, e.g. with a TrainingSampler"
            ) from None
        return data, time.perf_counter() - start

    def _without_exchange(self) -> contextlib.AbstractContextManager[Any]:
        """Keep processes from exchanging gradients."""
        return without_exchange(self.model)

    def _add_gradients(self, data: Any, *, clear: bool) -> LossReadout:
        """Run the model forward and backward over one batch."""
        if clear and self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        losses = self._forward(data)
        readout = LossReadout(losses)
        if clear and not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        total = sum(losses.values(), start=torch.zeros(()))
        self._backward(total if self.accumulate == 1 else total / self.accumulate)
        return readout

    def _forward(self, data: Any) -> dict[str, Tensor]:
        losses = self.model(data)
        if isinstance(losses, Tensor):
            return {"total_loss": losses}
        if not losses:
            raise ValueError(f"the model returned no losses at iteration {self.iter}")
        return losses

    def _backward(self, total_loss: Tensor) -> None:
        total_loss.backward()

    def _complete_gradients(self) -> None:
        """Make the gradients what hooks and the update are to see."""

    def _update(self) -> None:
        self.optimizer.step()

    def _write_metrics(
        self, loss_dict: Mapping[str, Tensor], data_time: float, prefix: str = ""
    ) -> None:
        """Check the losses and put the metrics of this iteration into the storage.

        Subclasses may overwrite it; steps of their own may call it.

        Args:
            loss_dict: scalar losses.
            data_time: seconds spent waiting for data.
            prefix: put before the losses' names.
        """
        gathered = (self.iter + 1) % self.gather_metric_period == 0
        _store_metrics(loss_dict, data_time, self.iter, prefix, gathered=gathered)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Check losses and put them, averaged over the processes, into the current storage.

        Args:
            loss_dict: scalar losses.
            data_time: seconds spent waiting for data; of all processes the longest is stored.
            cur_iter: the iteration they are of.
            prefix: put before the losses' names.

        Raises:
            FloatingPointError: if a loss is not finite.
        """
        _store_metrics(loss_dict, data_time, cur_iter, prefix, gathered=True)


class _CountedBatches:
    """An iterator over batches that knows how many were taken."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._iterator = iter(batches)
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        self.taken += 1
        return batch


def _store_metrics(
    loss_dict: Mapping[str, Tensor],
    data_time: float,
    iteration: int,
    prefix: str,
    *,
    gathered: bool,
) -> None:
    """Put metrics into the current storage, of this process or averaged over all."""
    losses = {name: float(torch.as_tensor(loss).detach()) for name, loss in loss_dict.items()}
    check_finite(losses, iteration)
    if gathered:
        of_all = comm.gather({**losses, "data_time": data_time})
        if not comm.is_main_process():
            return
        # The slowest process makes the others wait.
        data_time = max(metrics.pop("data_time") for metrics in of_all)
        losses = _averages(of_all)
    elif not comm.is_main_process():
        return
    storage = get_event_storage()
    storage.put_scalar("data_time", data_time)
    storage.put_scalar(f"{prefix}total_loss", sum(losses.values()))
    if len(losses) > 1:
        for name, value in losses.items():
            storage.put_scalar(f"{prefix}{name}", value)


class AMPTrainer(SimpleTrainer):
    """:class:`SimpleTrainer` with PyTorch's automatic mixed precision.

    Hooks and whatever clips gradients see them unscaled, with every optimizer.

    Args:
        model, data_loader, optimizer: as in :class:`SimpleTrainer`.
        accumulate, gather_metric_period, zero_grad_before_forward: as there.
        grad_scaler: a ``torch.amp.GradScaler``; by default one that scales for float16 only.
        precision: dtype of the forward pass, float16 or bfloat16; by default float16 on CUDA
            and bfloat16 on CPU, where float16 is slow and would need scaling.

    Raises:
        ValueError: if ``precision`` is another dtype.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        grad_scaler: torch.amp.GradScaler | None = None,
        *,
        precision: torch.dtype | None = None,
        accumulate: int = 1,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
    ) -> None:
        super().__init__(
            model,
            data_loader,
            optimizer,
            accumulate=accumulate,
            gather_metric_period=gather_metric_period,
            zero_grad_before_forward=zero_grad_before_forward,
        )
        self._device_type = next(model.parameters()).device.type
        if precision is None:
            precision = torch.float16 if self._device_type == "cuda" else torch.bfloat16
        if precision not in AMP_PRECISIONS.values():
            raise ValueError(
                f"mixed precision is torch.float16 or torch.bfloat16, got {precision}; for full "
                "precision use SimpleTrainer"
            )
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
        """Restore the trainer, and the gradient scaler if the state has one that was in use."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])

    def _forward(self, data: Any) -> dict[str, Tensor]:
        with torch.autocast(self._device_type, dtype=self.precision):
            return super()._forward(data)

    def _backward(self, total_loss: Tensor) -> None:
        self.grad_scaler.scale(total_loss).backward()

    def _complete_gradients(self) -> None:
        # Not left to `step`: fused optimizers unscale behind the hooks that clip.
        self.grad_scaler.unscale_(self.optimizer)

    def _update(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()


def _averages(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Average dicts of numbers; a name that one does not have counts as 0 there."""
    if len(metrics) == 1:
        return metrics[0]
    names = dict.fromkeys(name for values in metrics for name in values)
    return {n: sum(values.get(n, 0.0) for values in metrics) / len(metrics) for n in names}
