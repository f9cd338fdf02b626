"""Where a running model leaves its scalars, pictures and histograms.

`EventStorage` collects what the model and the trainer report during an iteration; writers
read it. Only one storage is current at a time: the innermost active ``with`` block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .history_buffer import HistoryBuffer

_STORAGE_STACK: list[EventStorage] = []

# Scalars on an accelerator are fetched together when someone reads them; this bounds how
# many wait.
_MAX_PENDING = 512

# Of each series in a state: what the remaining time is estimated from; windows are smaller.
_SAVED_VALUES = 1000


class _Pending(NamedTuple):
    name: str
    value: Tensor
    iteration: int


def get_event_storage() -> EventStorage:
    """The storage of the innermost active ``with EventStorage(...)`` block.

    Raises:
        AssertionError: if no storage is active. Code that may run without one asks
            `active_event_storage` instead.
    """
    if not _STORAGE_STACK:
        raise AssertionError(
            "get_event_storage() has to be called inside a `with EventStorage(...):` block, "
            "and none is active"
        )
    return _STORAGE_STACK[-1]


def active_event_storage() -> EventStorage | None:
    """The current storage, or None when nothing collects events."""
    return _STORAGE_STACK[-1] if _STORAGE_STACK else None


class EventStorage:
    """Collects scalars, pictures and histograms, each tagged with an iteration number.

    Used as a context manager it becomes the storage that `get_event_storage` returns.

    Args:
        start_iter: the iteration number to start with.
    """

    def __init__(self, start_iter: int = 0) -> None:
        self._iter = start_iter
        self._prefix = ""
        self._histories: dict[str, HistoryBuffer] = {}
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._pending: list[_Pending] = []
        self._images: list[tuple[str, Any, int]] = []
        self._histograms: list[dict[str, Any]] = []

    def put_scalar(
        self,
        name: str,
        value: float | Tensor,
        smoothing_hint: bool = True,
        cur_iter: int | None = None,
    ) -> None:
        """Record a scalar under ``name``.

        Args:
            name: key of the series; the active `name_scope` is put before it.
            value: a number or a tensor of one element, which is detached. One that lives on an
                accelerator is fetched only when it is read, so reporting does not wait for the
                device.
            smoothing_hint: whether writers should smooth this series.
            cur_iter: iteration to record at; None for the current one.

        Raises:
            ValueError: if the series was recorded with another ``smoothing_hint`` before, or the
                tensor has several elements or none.
        """
        name = self._prefix + name
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(
                f"scalar {name!r} has to be a number or a tensor of one element, got one of shape "
                f"{tuple(value.shape)}; take its mean, or use put_histogram"
            )
        known_hint = self._smoothing_hints.setdefault(name, smoothing_hint)
        if known_hint != smoothing_hint:
            raise ValueError(
                f"scalar {name!r} was recorded with smoothing_hint={known_hint} before and "
                f"with {smoothing_hint} now; use one of the two throughout"
            )
        iteration = self._iter if cur_iter is None else cur_iter
        if isinstance(value, Tensor) and value.device.type != "cpu":
            self._pending.append(_Pending(name, value.detach().clone(), iteration))
            if len(self._pending) >= _MAX_PENDING:
                self._fetch_pending()
        else:
            if any(entry.name == name for entry in self._pending):
                self._fetch_pending()
            number = value.detach() if isinstance(value, Tensor) else value
            self._record(name, float(number), iteration)

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: float | Tensor
    ) -> None:
        """Record several scalars, ``name=value``, with the same hint."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def restore_scalar(self, name: str, value: float, iteration: int) -> None:
        """Record a scalar that a run which is continued wrote down.

        Args:
            name: key of the series; if it is new, :meth:`put_scalar` decides about its smoothing.
            value: a number.
            iteration: at which it was recorded.
        """
        self._fetch_pending()
        self._record(name, value, iteration)

    def put_image(self, img_name: str, img_tensor: Tensor | np.ndarray) -> None:
        """Record an RGB picture.

        Args:
            img_name: name shown by the writer.
            img_tensor: (3, H, W), float in [0, 1] or uint8 in [0, 255].
        """
        self._images.append((img_name, img_tensor, self._iter))

    def put_histogram(self, hist_name: str, hist_tensor: Tensor, bins: int = 1000) -> None:
        """Record the distribution of a tensor's elements.

        Args:
            hist_name: name shown by the writer.
            hist_tensor: any shape, at least one element.
            bins: number of equally wide bins between its smallest and largest element.
        """
        values = hist_tensor.detach().to("cpu", torch.float32)
        low, high = values.min().item(), values.max().item()
        counts = torch.histc(values, bins=bins)
        edges = torch.linspace(low, high, steps=bins + 1, dtype=torch.float32)
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": values.numel(),
                "sum": float(values.sum()),
                "sum_squares": float((values**2).sum()),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": counts.tolist(),
                "global_step": self._iter,
            }
        )

    def history(self, name: str) -> HistoryBuffer:
        """The recorded series called ``name``.

        Raises:
            KeyError: if nothing was recorded under that name.
        """
        self._fetch_pending()
        if name not in self._histories:
            raise KeyError(
                f"no scalar {name!r} was recorded; recorded are {sorted(self._histories)}"
            )
        return self._histories[name]

    def histories(self) -> Mapping[str, HistoryBuffer]:
        """Every recorded series by name."""
        self._fetch_pending()
        return MappingProxyType(self._histories)

    def latest(self) -> dict[str, tuple[float, int]]:
        """The newest value of each series and the iteration at which it was recorded."""
        self._fetch_pending()
        return dict(self._latest)

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like `latest`, with the median over a window for series that want smoothing.

        Args:
            window_size: number of latest iterations that the median looks at.
        """
        return {
            name: (
                self._histories[name].median(self.count_samples(name, window_size))
                if self._smoothing_hints.get(name, False)
                else value,
                iteration,
            )
            for name, (value, iteration) in self.latest().items()
        }

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Number of values of ``name`` within its ``window_size`` latest iterations."""
        history = self.history(name)
        newest = self._latest[name][1]
        return history.count_since(newest - window_size)

    def smoothing_hints(self) -> dict[str, bool]:
        """For each series, whether it is noisy and wants smoothing."""
        return dict(self._smoothing_hints)

    def step(self) -> None:
        """Go on to the next iteration."""
        self._iter += 1

    @property
    def iter(self) -> int:
        """The current iteration number; with a trainer, the trainer's."""
        return self._iter

    @iter.setter  # noqa: A003 - the documented name
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """The same as `iter`."""
        return self._iter

    @property
    def images(self) -> tuple[tuple[str, Any, int], ...]:
        """Recorded pictures: name, picture, iteration."""
        return tuple(self._images)

    @property
    def histograms(self) -> tuple[dict[str, Any], ...]:
        """Recorded histograms, as keyword arguments of TensorBoard's ``add_histogram_raw``."""
        return tuple(self._histograms)

    def clear_images(self) -> None:
        """Drop the recorded pictures, usually after they were written."""
        self._images.clear()

    def clear_histograms(self) -> None:
        """Drop the recorded histograms, usually after they were written."""
        self._histograms.clear()

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``name/`` before every scalar that is recorded inside the block."""
        outer = self._prefix
        self._prefix = name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def state_dict(self) -> dict[str, Any]:
        """Return the newest values of each series, as a checkpoint keeps them."""
        series = {}
        for name, history in self.histories().items():
            newest = history.newest(_SAVED_VALUES)
            count, total = history.sums()
            series[name] = {
                "values": torch.tensor([value for value, _ in newest], dtype=torch.float64),
                "iterations": torch.tensor([int(when) for _, when in newest], dtype=torch.int64),
                "count": count,
                "total": total,
                "smoothing_hint": self._smoothing_hints.get(name),
            }
        return {"series": series}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the series of a state as if they had been recorded here.

        Raises:
            KeyError: if the state is none of :meth:`state_dict`.
        """
        self._fetch_pending()
        for name, saved in state["series"].items():
            values, iterations = saved["values"].tolist(), saved["iterations"].tolist()
            if not values:
                continue
            history = self._histories[name] = HistoryBuffer()
            entries = list(zip(values, iterations, strict=True))
            history.restore(entries, saved["count"], saved["total"])
            if saved["smoothing_hint"] is not None:
                self._smoothing_hints[name] = saved["smoothing_hint"]
            self._latest[name] = (values[-1], iterations[-1])

    def __enter__(self) -> EventStorage:
        _STORAGE_STACK.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not _STORAGE_STACK or _STORAGE_STACK[-1] is not self:
            raise RuntimeError("EventStorage blocks were left in another order than entered")
        _STORAGE_STACK.pop()

    def _record(self, name: str, value: float, iteration: int) -> None:
        self._histories.setdefault(name, HistoryBuffer()).update(value, iteration)
        self._latest[name] = (value, iteration)

    def _fetch_pending(self) -> None:
        """Bring the waiting scalars to the host, those of one device in one go."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values = [entry.value.reshape(()) for entry in pending]
        if len({value.device for value in values}) == 1:
            numbers = torch.stack(values).tolist()
        else:
            numbers = [value.item() for value in values]
        for entry, number in zip(pending, numbers, strict=True):
            self._record(entry.name, float(number), entry.iteration)
