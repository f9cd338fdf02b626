"""Timing of a loader's parts one by one; ``d2 benchmark`` times the whole of a run."""

import itertools
import logging
import time
from collections.abc import Iterable
from typing import Any

from d2_data import DatasetFromList, MapDataset
from d2_engine.compat.shims.loader_parts import build_batch_data_loader

logger = logging.getLogger(__name__)


class DataLoaderBenchmark:
    """Measures how fast the parts of a training loader are.

    Args:
        dataset: a list of dataset dicts.
        mapper: from a dict to a sample.
        sampler: yields indices.
        total_batch_size: of all processes.
        num_workers: loading processes.
        max_time_seconds: how long one measurement lasts at most.
    """

    def __init__(
        self,
        dataset: list[Any],
        *,
        mapper: Any,
        sampler: Any = None,
        total_batch_size: int,
        num_workers: int = 0,
        max_time_seconds: float = 90,
    ) -> None:
        self.dataset = DatasetFromList(dataset, copy=False)
        self.mapper = mapper
        self.sampler = sampler
        self.total_batch_size = total_batch_size
        self.num_workers = num_workers
        self.max_time_seconds = max_time_seconds

    def benchmark_dataset(self, num_iter: int, warmup: int = 5) -> float:
        """Read dataset dicts only; return seconds for each."""
        return self._measure(
            (self.dataset[i] for i in self.sampler), num_iter, warmup, "dataset dicts"
        )

    def benchmark_mapper(self, num_iter: int, warmup: int = 5) -> float:
        """Read and map in this process; return seconds for each."""
        mapped = (self.mapper(self.dataset[i]) for i in self.sampler)
        return self._measure(mapped, num_iter, warmup, "mapped samples")

    def benchmark_workers(self, num_iter: int, warmup: int = 10) -> float:
        """Read and map in loading processes; return seconds for a batch."""
        loader = build_batch_data_loader(
            MapDataset(self.dataset, self.mapper),
            self.sampler,
            self.total_batch_size,
            num_workers=self.num_workers,
        )
        return self._measure(loader, num_iter, warmup, f"batches by {self.num_workers} workers")

    def benchmark_IPC(self, num_iter: int, warmup: int = 10) -> float:
        """Hand over what is already there from loading processes; return seconds for a batch."""
        sample = self.mapper(self.dataset[next(iter(self.sampler))])
        loader = build_batch_data_loader(
            _Repeated(sample),
            self.sampler,
            self.total_batch_size,
            num_workers=self.num_workers,
        )
        return self._measure(loader, num_iter, warmup, "batches of one sample repeated")

    def _measure(self, items: Iterable[Any], num_iter: int, warmup: int, what: str) -> float:
        stream = iter(items)
        for _ in itertools.islice(stream, warmup):
            pass
        start, count = time.perf_counter(), 0
        for _ in itertools.islice(stream, num_iter):
            count += 1
            if time.perf_counter() - start > self.max_time_seconds:
                break
        seconds = (time.perf_counter() - start) / max(count, 1)
        logger.info("%d %s, %.2f a second", count, what, 1 / max(seconds, 1e-9))
        return seconds


class _Repeated:
    """A dataset of one sample."""

    def __init__(self, sample: Any) -> None:
        self._sample = sample

    def __getitem__(self, index: int) -> Any:
        return self._sample
