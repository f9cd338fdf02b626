"""Batches of a dataset whose elements have indices."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice
from typing import Any

from torch.utils.data import Dataset

from d2_data.aspect_ratio_grouping import OrientationBuckets, group_by_orientation
from d2_data.detection_loader import Feed, Iteration, RunSeed, State, is_of_this_process
from d2_data.sample_seeding import seeded_sample
from d2_data.skipped_records import SkippedRecord
from d2_structures import comm

_logger = logging.getLogger(__name__)

Place = tuple[int, int]
"""An index, and its position in the stream of all processes."""


class SeededDataset(Dataset[Any]):
    """Gets each element with the generators seeded for its position in the stream.

    Args:
        dataset: the mapped elements.
        run_seed: of the draws; with None in it the generators are left alone.
    """

    def __init__(self, dataset: Any, run_seed: RunSeed) -> None:
        self._dataset = dataset
        self._run_seed = run_seed

    @property
    def skipped(self) -> list[SkippedRecord]:
        """What the dataset left out because it could not be loaded."""
        return list(getattr(self._dataset, "skipped", ()))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, place: Place) -> Any:
        index, position = place
        if self._run_seed.value is None:
            return self._dataset[index]
        with seeded_sample(self._run_seed.value, position):
            return self._dataset[index]


class IndexedBatches(Feed):
    """Batches that are known before anything is loaded; also their batch sampler.

    Args:
        run_seed: of the samples' draws.
        sampler: of this process' indices.
        batch_size: of this process.
        wide: tells of each index whether the image is wide, to group by it; None for no groups.
        keep_rest: whether indices that are left at the end make a smaller batch.
    """

    def __init__(
        self,
        run_seed: RunSeed,
        sampler: Any,
        batch_size: int,
        wide: Callable[[int], bool] | None,
        *,
        keep_rest: bool,
    ) -> None:
        super().__init__(run_seed, sampler, batch_size)
        self._wide = wide
        self._keep_rest = keep_rest
        self._skipped = 0
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def start(self, state: State | None) -> Iteration:
        self._skipped = 0 if state is None else state["batches"]
        return _AsSent()

    def __iter__(self) -> Iterator[list[Place]]:
        return islice(self._all_batches(), self._skipped, None)

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + (self._keep_rest and rest > 0)

    def _all_batches(self) -> Iterator[list[Place]]:
        places = _placed(self.sampler, self._rank, self._world_size)
        if self._wide is not None:
            wide = self._wide
            yield from group_by_orientation(places, self.batch_size, lambda place: wide(place[0]))
            return
        while batch := list(islice(places, self.batch_size)):
            if len(batch) == self.batch_size or self._keep_rest:
                yield batch


class _AsSent(Iteration):
    def receive(self, item: Any) -> Iterator[Any]:
        if item is not None:  # a batch of which nothing could be loaded
            yield item


class GroupedWhenLoaded(Feed):
    """Batches of one orientation where only the elements themselves tell it.

    Elements come one by one from the loading processes, with whether they are wide, and wait here
    for a batch of their kind. Also the sampler of their places.

    Args:
        run_seed: of the samples' draws.
        sampler: of this process' indices.
        batch_size: of this process.
        collate: makes a batch of a list of elements.
    """

    def __init__(
        self,
        run_seed: RunSeed,
        sampler: Any,
        batch_size: int,
        collate: Callable[[list[Any]], Any],
    ) -> None:
        super().__init__(run_seed, sampler, batch_size)
        self._collate = collate
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()
        self._begin, self._waiting = 0, frozenset[int]()

    def start(self, state: State | None) -> Iteration:
        known = state is not None and "loaded" in state and is_of_this_process(state)
        self._begin = state["loaded"] if state is not None and known else 0
        self._waiting = frozenset(state["waiting"] if state is not None and known else ())
        unwanted = 0 if state is None or known else state["batches"]
        if unwanted:
            _logger.warning(
                "Loading %d batches again: only their images tell the orientation", unwanted
            )
        return _Grouping(self.batch_size, self._collate, self._waiting, self._begin, unwanted)

    def __iter__(self) -> Iterator[Place]:
        begin, waiting = self._begin, self._waiting
        places = enumerate(_placed(self.sampler, self._rank, self._world_size))
        return (place for number, place in places if number >= begin or number in waiting)

    def __len__(self) -> int:
        return len(self.sampler)


class _Grouping(Iteration):
    """Elements that wait here for a batch of their kind.

    Args:
        batch_size: elements in each batch.
        collate: makes a batch of a list of elements.
        waiting: numbers of elements, loaded before, that come first because they still wait.
        begin: the number of the element that comes then.
        unwanted: number of batches that were given out before.
    """

    def __init__(
        self,
        batch_size: int,
        collate: Callable[[list[Any]], Any],
        waiting: frozenset[int],
        begin: int,
        unwanted: int,
    ) -> None:
        self._buckets: OrientationBuckets[tuple[int, Any]] = OrientationBuckets(batch_size)
        self._collate = collate
        self._numbers = chain(sorted(waiting), count(begin))
        self._to_come = set(waiting)
        self._loaded = begin
        self._unwanted = unwanted

    def receive(self, item: tuple[bool, Any]) -> Iterator[Any]:
        wide, element = item
        number = next(self._numbers)
        self._to_come.discard(number)
        self._loaded = max(self._loaded, number + 1)
        batch = self._buckets.add((number, element), wide)
        if batch is None:
            return
        if self._unwanted:
            self._unwanted -= 1
            return
        yield self._collate([element for _, element in batch])

    def place(self) -> State:
        if self._unwanted:
            return {}
        waiting = {number for number, _ in self._buckets.waiting()} | self._to_come
        return {"loaded": self._loaded, "waiting": sorted(waiting)}


def _placed(sampler: Iterable[int], rank: int, world_size: int) -> Iterator[Place]:
    """The indices of a process with their positions in the stream of all processes."""
    return zip(sampler, count(rank, world_size), strict=False)
