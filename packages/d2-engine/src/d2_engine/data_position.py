"""Continuing a stream of batches where an interrupted run left it."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, Sampler

from d2_data import DetectionLoader

logger = logging.getLogger(__name__)


def starting_at(
    loader: Iterable[Any], batch: int, state: Mapping[str, Any] | None = None
) -> Iterable[Any]:
    """Return the batches of a loader from number ``batch`` on.

    A loader that can be restored is handed its state. With another DataLoader over a map-style
    dataset only indices are skipped, no image is read. Other iterables are read and discarded up to
    there.

    Args:
        loader: gives the same batches each time it is iterated.
        batch: number of batches to leave out, e.g. :attr:`SimpleTrainer.batches_consumed` of a
            resumed trainer.
        state: what the loader's ``state_dict`` said there, e.g. :attr:`SimpleTrainer.data_state`.
    """
    if batch == 0:
        return loader
    if isinstance(loader, DetectionLoader):
        loader.load_state_dict(state or {"batches": batch})
        return loader
    if state and hasattr(loader, "load_state_dict"):
        loader.load_state_dict(state)
        return loader
    if (
        not isinstance(loader, DataLoader)
        or isinstance(loader.dataset, IterableDataset)
        or loader.batch_sampler is None
    ):
        logger.warning("Reading %d batches to continue the data where it was left", batch)
        return _Remainder(loader, batch)
    settings: dict[str, Any] = {
        name: getattr(loader, name)
        for name in (
            "num_workers",
            "collate_fn",
            "pin_memory",
            "timeout",
            "worker_init_fn",
            "multiprocessing_context",
            "generator",
            "prefetch_factor",
            "persistent_workers",
        )
    }
    sampler = _RemainingBatches(loader.batch_sampler, batch)
    return DataLoader(loader.dataset, batch_sampler=sampler, **settings)


class _Remainder:
    """An iterable without its first elements."""

    def __init__(self, iterable: Iterable[Any], skipped: int) -> None:
        self._iterable = iterable
        self._skipped = skipped

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self._iterable, self._skipped, None)


class _RemainingBatches(Sampler[list[Any]]):
    """A batch sampler without its first batches."""

    def __init__(self, batches: Iterable[list[Any]], skipped: int) -> None:
        self._batches = batches
        self._skipped = skipped

    def __iter__(self) -> Iterator[list[Any]]:
        return itertools.islice(self._batches, self._skipped, None)
