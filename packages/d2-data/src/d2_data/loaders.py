"""Loaders: from a dataset to batches, in worker processes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler

from d2_config import configurable
from d2_data.aspect_ratio_grouping import is_wide, orientations
from d2_data.dataset_mapper import DatasetMapper
from d2_data.detection_loader import DetectionLoader, RunSeed
from d2_data.indexed_batches import GroupedWhenLoaded, IndexedBatches, SeededDataset
from d2_data.list_dataset import DatasetFromList
from d2_data.loader_config import arguments_for_testing, arguments_for_training
from d2_data.mapped_dataset import GuardedMapper, MapDataset
from d2_data.mixing import MixingMapper
from d2_data.record_stream import StreamBatches, StreamFeed
from d2_data.samplers import InferenceSampler, TrainingSampler
from d2_data.skipped_records import OnError
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
    on_error: OnError = "raise",
    pin_memory: bool = False,
    persistent_workers: bool = False,
    prefetch_factor: int | None = None,
) -> DetectionLoader:
    """Build an endless loader for training.

    It can also be called with a yacs-style config, ``build_detection_train_loader(cfg)``, and
    arguments beside it win: see :func:`~d2_data.loader_config.arguments_for_training`.

    Each sample is mapped with generators seeded by the run's seed and the sample's place
    in the stream, so that the batches do not depend on ``num_workers``. The loader's
    ``state_dict`` and ``load_state_dict`` let a run go on with the batches it would have had: see
    :class:`~d2_data.DetectionLoader`.

    Args:
        dataset: list of dicts, or a torch dataset. An iterable dataset shares itself out
            among processes and workers (:class:`~d2_data.SharedStream` makes one that does) and is
            taken as it comes; the batches then depend on the number of workers.
        mapper: takes an element, returns what the model takes; None leaves elements as
            they are. A :class:`DatasetMapper` gives no masks, or keypoints, where no object of a
            list has any. A :class:`~d2_data.mixing.MixingMapper` draws from the dataset.
        sampler: of this process' indices; :class:`TrainingSampler` when None. Must be
            None for an iterable dataset.
        total_batch_size: over all processes; must be divisible by their number.
        aspect_ratio_grouping: whether each batch has only wide or only tall images; needs
            elements with "width" and "height". No image is read to learn them: elements of a
            dataset that is no list, and has no ``get_height_and_width(index)``, are grouped once
            the workers have loaded them.
        num_workers: loading processes; 0 loads in this one.
        collate_fn: makes a batch of a list of mapped elements; the list itself when None.
        seed: of the samples' draws and of the default sampler. When None, the processes
            agree on a random one.
        on_error: ``"raise"`` what cannot be loaded, or ``"skip"`` it: another sample takes its
            place. The loader's ``skipped`` lists such records.
        pin_memory: whether tensors are copied into page-locked memory, from which they reach a GPU
            faster.
        persistent_workers: whether worker processes stay for the next iteration over the loader.
        prefetch_factor: batches that each worker prepares in advance; 2 when None.

    Returns:
        Each batch has ``total_batch_size / number of processes`` elements.

    Raises:
        ValueError: if the batch size cannot be shared out, or the seed is negative.
        KeyError: if a dict in a list lacks "width" or "height" and is to be grouped by them.
        OSError: while iterating, from the mapper, if an image cannot be read. Errors name dataset
            and picture.
        ChildProcessError: while iterating, if a loading process dies; names what it loaded.
    """
    batch_size = _batch_size_per_process(total_batch_size)
    seed = comm.shared_random_seed() if seed is None else int(seed)
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}; None draws one")
    run_seed = RunSeed(seed)
    workers = _worker_options(num_workers, pin_memory, persistent_workers, prefetch_factor)
    # Without one of its own it would draw from the generator that models draw from.
    workers["generator"] = torch.Generator().manual_seed(seed % 2**63)
    collate = _as_list if collate_fn is None else collate_fn
    if isinstance(dataset, IterableDataset):
        _refuse_sampler(sampler)
        mapper = _drawing_from(dataset, mapper, on_error)
        stream = StreamBatches(
            *(dataset, _guarded(mapper, on_error), batch_size, collate),
            grouped=aspect_ratio_grouping,
            keep_rest=False,
            run_seed=run_seed,
        )
        return _stream_loader(stream, workers)
    wide = orientations(dataset) if aspect_ratio_grouping else None
    if isinstance(dataset, list | DatasetFromList):
        mapper = _suited_to(dataset, mapper)
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    mapper = _drawing_from(dataset, mapper, on_error)
    if sampler is None:
        sampler = TrainingSampler(len(dataset), seed=seed)  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its subclasses
    if aspect_ratio_grouping and wide is None:
        with_orientation = MapDataset(dataset, _WithOrientation(mapper), on_error)
        grouped = GroupedWhenLoaded(run_seed, sampler, batch_size, collate)
        return _grouping_loader(with_orientation, grouped, workers)
    mapped = dataset if mapper is None else MapDataset(dataset, mapper, on_error)
    batches = IndexedBatches(run_seed, sampler, batch_size, wide, keep_rest=False)
    return _indexed_loader(mapped, batches, collate, workers)


@configurable(from_config=arguments_for_testing)
def build_detection_test_loader(
    dataset: Sequence[Any] | Dataset[Any],
    *,
    mapper: Mapper | None,
    sampler: Sampler[int] | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    on_error: OnError = "raise",
    pin_memory: bool = False,
    persistent_workers: bool = False,
    prefetch_factor: int | None = None,
) -> DetectionLoader:
    """Build a loader that gives each sample once.

    It can also be called with a yacs-style config,
    ``build_detection_test_loader(cfg, "coco_2017_val")``, and arguments beside it win: see
    :func:`~d2_data.loader_config.arguments_for_testing`.

    Args:
        dataset: list of dicts, or a torch dataset; an iterable one shares itself out among
            processes and workers, as :class:`~d2_data.SharedStream` does.
        mapper: takes an element, returns what the model takes; None leaves elements as
            they are.
        sampler: of this process' indices; :class:`InferenceSampler` when None, which
            splits the dataset among the processes. Must be None for an iterable dataset.
        batch_size: of this process; the last batch may be smaller.
        num_workers: loading processes; 0 loads in this one.
        collate_fn: makes a batch of a list of mapped elements; the list itself when None.
        on_error: ``"raise"`` what cannot be loaded, or ``"skip"`` it: batches are smaller then.
            The loader's ``skipped`` lists such records.
        pin_memory, persistent_workers, prefetch_factor: see :func:`build_detection_train_loader`.
    """
    workers = _worker_options(num_workers, pin_memory, persistent_workers, prefetch_factor)
    collate = _as_list if collate_fn is None else collate_fn
    unseeded = RunSeed(None)
    if isinstance(dataset, IterableDataset):
        _refuse_sampler(sampler)
        stream = StreamBatches(
            *(dataset, _guarded(mapper, on_error), batch_size, collate),
            grouped=False,
            keep_rest=True,
            run_seed=unseeded,
        )
        return _stream_loader(stream, workers)
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    mapped = dataset
    if mapper is not None:
        mapped = MapDataset(dataset, mapper, on_error, replace=on_error == "raise")
    if sampler is None:
        sampler = InferenceSampler(len(dataset))  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its subclasses
    batches = IndexedBatches(unseeded, sampler, batch_size, None, keep_rest=True)
    collate = collate if on_error == "raise" else _CollateWhatIsThere(collate)
    return _indexed_loader(mapped, batches, collate, workers)


def _batch_size_per_process(total_batch_size: int) -> int:
    world_size = comm.get_world_size()
    if total_batch_size <= 0 or total_batch_size % world_size:
        raise ValueError(
            f"total_batch_size must be positive and divisible by the {world_size} processes, got "
            f"{total_batch_size}"
        )
    return total_batch_size // world_size


def _worker_options(
    num_workers: int, pin_memory: bool, persistent_workers: bool, prefetch_factor: int | None
) -> dict[str, Any]:
    """What a ``DataLoader`` is to know about its worker processes."""
    if num_workers == 0 and (persistent_workers or prefetch_factor is not None):
        raise ValueError(
            f"persistent_workers={persistent_workers} and prefetch_factor={prefetch_factor} are "
            "about worker processes, but num_workers is 0; set num_workers, or leave them out"
        )
    return {
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "persistent_workers": persistent_workers,
        "prefetch_factor": prefetch_factor,
    }


def _refuse_sampler(sampler: Any) -> None:
    if sampler is not None:
        raise ValueError("an iterable dataset has an order of its own: sampler must be None")


def _indexed_loader(
    mapped: Any, batches: IndexedBatches, collate: Collate, workers: dict[str, Any]
) -> DetectionLoader:
    return DetectionLoader(
        batches,
        dataset=SeededDataset(mapped, batches.run_seed),
        batch_sampler=batches,
        collate_fn=collate,
        **workers,
    )


def _grouping_loader(
    with_orientation: Any, grouped: GroupedWhenLoaded, workers: dict[str, Any]
) -> DetectionLoader:
    return DetectionLoader(
        grouped,
        dataset=SeededDataset(with_orientation, grouped.run_seed),
        batch_size=None,
        sampler=grouped,
        collate_fn=_as_it_is,
        **workers,
    )


def _stream_loader(stream: StreamBatches, workers: dict[str, Any]) -> DetectionLoader:
    return DetectionLoader(
        StreamFeed(stream, workers["num_workers"]),
        dataset=stream,
        batch_size=None,
        collate_fn=_as_it_is,
        **workers,
    )


def _as_list(batch: list[Any]) -> list[Any]:
    return batch


def _as_it_is(item: Any) -> Any:
    return item


def _suited_to(records: Any, mapper: Mapper | None) -> Mapper | None:
    if isinstance(mapper, DatasetMapper | MixingMapper):
        return mapper.suited_to(records)
    return mapper


def _drawing_from(dataset: Any, mapper: Mapper | None, on_error: OnError) -> Mapper | None:
    return mapper.drawing_from(dataset, on_error) if isinstance(mapper, MixingMapper) else mapper


def _guarded(mapper: Mapper | None, on_error: OnError) -> Mapper | None:
    return None if mapper is None else GuardedMapper(mapper, on_error)


class _CollateWhatIsThere:
    """Makes a batch of the elements that are not None; None where there are none."""

    def __init__(self, collate: Collate) -> None:
        self._collate = collate

    def __call__(self, batch: list[Any]) -> Any:
        present = [element for element in batch if element is not None]
        return self._collate(present) if present else None


class _WithOrientation:
    """A mapper that also tells whether the element, as it was, is wide."""

    def __init__(self, mapper: Mapper | None) -> None:
        self._mapper = mapper

    @property
    def skipped(self) -> Any:
        return getattr(self._mapper, "skipped", None)

    def __call__(self, element: Any) -> tuple[bool, Any] | None:
        wide = is_wide(element)
        mapped = element if self._mapper is None else self._mapper(element)
        return None if mapped is None else (wide, mapped)
