"""Loaders: from a dataset to batches, in worker processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from d2_config import configurable
from d2_data.aspect_ratio_grouping import (
    AspectRatioGroupedDataset,
    group_by_orientation,
    is_wide,
)
from d2_data.list_dataset import DatasetFromList
from d2_data.loader_config import arguments_for_testing, arguments_for_training
from d2_data.mapped_dataset import MapDataset
from d2_data.sample_seeding import seeded_sample
from d2_data.samplers import InferenceSampler, TrainingSampler
from d2_structures import comm

__all__ = ["build_detection_test_loader", "build_detection_train_loader"]

Mapper = Callable[[Any], Any]
Collate = Callable[[list[Any]], Any]


@configurable(from_config=arguments_for_training)
def build_detection_train_loader(
    dataset: Sequence[Any] | Dataset[Any],
    *,
    mapper: Mapper | None,
    sampler: Sampler[int] | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    seed: int | None = None,
) -> DataLoader[Any]:
    """Build an endless loader for training.

    It can also be called with a yacs-style config, ``build_detection_train_loader(cfg)``, and
    arguments beside it win: see :func:`~d2_data.loader_config.arguments_for_training`.

    Each sample is mapped with generators seeded by the run's seed and the sample's place
    in the stream, so that the batches do not depend on ``num_workers``.

    Args:
        dataset: list of dicts, or a torch dataset. An iterable dataset shares itself out
            among processes and workers and is taken as it comes.
        mapper: takes an element, returns what the model takes; None leaves elements as
            they are.
        sampler: of this process' indices; :class:`TrainingSampler` when None. Must be
            None for an iterable dataset.
        total_batch_size: over all processes; must be divisible by their number.
        aspect_ratio_grouping: whether each batch has only wide or only tall images; needs
            elements with "width" and "height".
        num_workers: loading processes; 0 loads in this one.
        collate_fn: makes a batch of a list of mapped elements; the list itself when None.
        seed: of the samples' draws and of the default sampler. When None, the processes
            agree on a random one.

    Returns:
        Each batch has ``total_batch_size / number of processes`` elements.

    Raises:
        ValueError: if the batch size cannot be shared out.
        OSError: while iterating, from the mapper, if an image cannot be read.
    """
    batch_size = _batch_size_per_process(total_batch_size)
    collate = _as_list if collate_fn is None else collate_fn
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise ValueError("an iterable dataset has an order of its own: sampler must be None")
        return _iterable_train_loader(
            dataset, mapper, batch_size, aspect_ratio_grouping, num_workers, collate
        )
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    seed = comm.shared_random_seed() if seed is None else seed
    if sampler is None:
        sampler = TrainingSampler(len(dataset), seed=seed)  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its subclasses
    mapped = dataset if mapper is None else MapDataset(dataset, mapper)
    return DataLoader(
        _SeededDataset(mapped, seed),
        batch_sampler=_PositionedBatches(
            sampler, batch_size, dataset if aspect_ratio_grouping else None
        ),
        num_workers=num_workers,
        collate_fn=collate,
        # Without one of its own it would draw from the generator that models draw from.
        generator=torch.Generator().manual_seed(seed % 2**63),
    )


@configurable(from_config=arguments_for_testing)
def build_detection_test_loader(
    dataset: Sequence[Any] | Dataset[Any],
    *,
    mapper: Mapper | None,
    sampler: Sampler[int] | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
) -> DataLoader[Any]:
    """Build a loader that gives each sample once.

    It can also be called with a yacs-style config,
    ``build_detection_test_loader(cfg, "coco_2017_val")``, and arguments beside it win: see
    :func:`~d2_data.loader_config.arguments_for_testing`.

    Args:
        dataset: list of dicts, or a torch dataset.
        mapper: takes an element, returns what the model takes; None leaves elements as
            they are.
        sampler: of this process' indices; :class:`InferenceSampler` when None, which
            splits the dataset among the processes. Must be None for an iterable dataset.
        batch_size: of this process; the last batch may be smaller.
        num_workers: loading processes; 0 loads in this one.
        collate_fn: makes a batch of a list of mapped elements; the list itself when None.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise ValueError("an iterable dataset has an order of its own: sampler must be None")
        if mapper is not None:
            dataset = _MappedStream(dataset, mapper)
    else:
        if mapper is not None:
            dataset = MapDataset(dataset, mapper)
        if sampler is None:
            sampler = InferenceSampler(len(dataset))  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its subclasses
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # sequences are datasets in all but name
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=_as_list if collate_fn is None else collate_fn,
    )


def _batch_size_per_process(total_batch_size: int) -> int:
    world_size = comm.get_world_size()
    if total_batch_size <= 0 or total_batch_size % world_size:
        raise ValueError(
            f"total_batch_size must be positive and divisible by the {world_size} processes, got "
            f"{total_batch_size}"
        )
    return total_batch_size // world_size


def _as_list(batch: list[Any]) -> list[Any]:
    return batch


class _PositionedBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (index, position in the stream of all processes).

    Args:
        sampler: of this process' indices.
        batch_size: of this process.
        sizes: dataset whose elements have "width" and "height", to group by them.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, sizes: Any | None) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._sizes = sizes
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        positions = count(self._rank, self._world_size)
        return group_by_orientation(
            zip(self._sampler, positions, strict=False), self._batch_size, self._is_wide
        )

    def _is_wide(self, item: tuple[int, int]) -> bool:
        return self._sizes is not None and is_wide(self._sizes[item[0]])


class _SeededDataset(Dataset[Any]):
    """Maps each sample with the generators seeded for its place in the stream."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, item: tuple[int, int]) -> Any:
        index, position = item
        with seeded_sample(self._seed, position):
            return self._dataset[index]


class _MappedStream(IterableDataset[Any]):
    """The elements of an iterable dataset after a function; None drops an element."""

    def __init__(self, dataset: Iterable[Any], map_func: Mapper) -> None:
        self._dataset = dataset
        self._map_func = map_func

    def __iter__(self) -> Iterator[Any]:
        return filter(lambda element: element is not None, map(self._map_func, self._dataset))


def _iterable_train_loader(
    dataset: IterableDataset[Any],
    mapper: Mapper | None,
    batch_size: int,
    aspect_ratio_grouping: bool,
    num_workers: int,
    collate: Collate,
) -> DataLoader[Any]:
    stream = dataset if mapper is None else _MappedStream(dataset, mapper)
    if aspect_ratio_grouping:
        stream = AspectRatioGroupedDataset(stream, batch_size)
    return DataLoader(
        stream,
        batch_size=None if aspect_ratio_grouping else batch_size,
        num_workers=num_workers,
        collate_fn=collate,
        drop_last=not aspect_ratio_grouping,
    )
