"""Bringing the losses of an iteration to the host without stalling the device."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

_SHOWN = 16


class LossReadout:
    """The scalar losses of one iteration on their way to the host.

    All values travel in a single copy. On CUDA the copy is enqueued right behind the forward
    pass, so that :meth:`values`, called once the backward pass has been launched, waits for
    the forward pass only: the device stays busy.

    Args:
        losses: name -> scalar tensor, on one device.
    """

    def __init__(self, losses: Mapping[str, Tensor]) -> None:
        self._names = list(losses)
        self._event: torch.cuda.Event | None = None
        with torch.no_grad():
            stacked = torch.stack([_scalar(name, loss) for name, loss in losses.items()])
            if stacked.is_cuda:
                self._host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
                self._host.copy_(stacked, non_blocking=True)
                self._event = torch.cuda.Event()
                self._event.record(torch.cuda.current_stream(stacked.device))
            else:
                self._host = stacked

    def values(self) -> dict[str, float]:
        """Return name -> value, waiting for the copy if it is still under way."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return dict(zip(self._names, self._host.tolist(), strict=True))


def check_finite(losses: Mapping[str, float], iteration: int) -> None:
    """Raise FloatingPointError naming the iteration and all losses if any is not finite."""
    if all(math.isfinite(value) for value in losses.values()):
        return
    shown = ", ".join(f"{name}={value:.6g}" for name, value in losses.items())
    raise FloatingPointError(
        f"a loss became infinite or NaN at iteration {iteration}: {shown}. The weights were not "
        "updated with it. A lower learning rate, a longer warm-up or gradient clipping usually "
        "helps; also look for broken annotations"
    )


def file_names(batch: object) -> list[str]:
    """The ``file_name`` of every input of a batch that has one."""
    entries = batch if isinstance(batch, (list, tuple)) else []
    named = (entry.get("file_name") for entry in entries if isinstance(entry, Mapping))
    return [str(name) for name in named if name]


@contextlib.contextmanager
def naming_files(files: Sequence[str]) -> Iterator[None]:
    """Add the files of a batch to what `check_finite` raises."""
    try:
        yield
    except FloatingPointError as error:
        if not files:
            raise
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        shown = ", ".join(files[:_SHOWN])
        raise FloatingPointError(f"{error}. The batch was {shown}{more}") from None


def _scalar(name: str, loss: Tensor) -> Tensor:
    if loss.numel() != 1:
        raise ValueError(f"loss {name!r} must be a scalar, got a tensor of {tuple(loss.shape)}")
    return loss.detach().reshape(()).float()
