"""A training loader from a dataset and a sampler; d2 has one function for the whole way."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from d2_data import AspectRatioGroupedDataset
from d2_engine.compat.shims.iterable_datasets import ToIterableDataset
from d2_structures import comm


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """A batch is the list of its elements."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed the generators of a loading process by the seed that torch gave it."""
    seed = torch.initial_seed() % 2**31 + worker_id
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # projects draw from the global one
    torch.manual_seed(seed)


def build_batch_data_loader(
    dataset: Any,
    sampler: Any,
    total_batch_size: int,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """Build a loader of batches, this process's share of them, for as long as the indices last.

    Args:
        dataset: with indices, or a stream.
        sampler: yields indices; None for a stream.
        total_batch_size: of all processes together.
        aspect_ratio_grouping: batch wide images with wide ones, tall with tall.
        num_workers: loading processes.
        collate_fn: from a list of elements to a batch; by default the list itself.
        drop_last: leave out an incomplete last batch.
        single_gpu_batch_size: of each process, instead of ``total_batch_size``.
        seed: of the loader's generator.
        kwargs: further arguments of torch's DataLoader.

    Raises:
        ValueError: if the processes cannot share the batch evenly, both sizes are given, or a
            stream and a sampler.
    """
    processes = comm.get_world_size()
    if single_gpu_batch_size:
        if total_batch_size:
            raise ValueError("give total_batch_size or single_gpu_batch_size, not both")
        total_batch_size = single_gpu_batch_size * processes
    if total_batch_size <= 0 or total_batch_size % processes:
        raise ValueError(
            f"total_batch_size {total_batch_size} cannot be shared by {processes} processes"
        )
    batch_size = total_batch_size // processes
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    options = {"num_workers": num_workers, "generator": generator, **kwargs}
    options.setdefault("worker_init_fn", worker_init_reset_seed)
    if not isinstance(dataset, IterableDataset):
        dataset = ToIterableDataset(dataset, sampler)
    elif sampler is not None:
        raise ValueError("a stream has its own order: sampler has to be None")
    if aspect_ratio_grouping:
        elements = DataLoader(dataset, batch_size=None, **options)
        batches: Any = AspectRatioGroupedDataset(elements, batch_size)
        return batches if collate_fn is None else _Collated(batches, collate_fn)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        drop_last=drop_last,
        collate_fn=collate_fn or trivial_batch_collator,
        **options,
    )


class _Collated:
    """Batches of another iterable, collated."""

    def __init__(self, batches: Any, collate: Callable[[list[Any]], Any]) -> None:
        self._batches, self._collate = batches, collate

    def __iter__(self) -> Any:
        return map(self._collate, self._batches)
