"""Batches of an iterable dataset, whose elements come as they come."""

import copy
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from torch.utils.data import IterableDataset, get_worker_info

from d2_data.aspect_ratio_grouping import OrientationBuckets, is_wide
from d2_data.detection_loader import Feed, Iteration, RunSeed, State, is_of_this_process
from d2_data.sample_seeding import seeded_sample
from d2_data.skipped_records import SkippedRecord
from d2_structures import comm

__all__ = ["SharedStream"]

_logger = logging.getLogger(__name__)

Mapper = Callable[[Any], Any]
Numbered = tuple[int, Any]
"""An element of a worker's share, and its number in there."""


class SharedStream(IterableDataset[Any]):
    """An iterable dataset that shares its elements out among processes and workers.

    Each of them reads all elements and yields every n-th, so that together they yield each once.
    Elements should be light, records rather than pictures; a dataset that can read its part alone
    does better to share itself out.

    Args:
        elements: anything that can be iterated again and again, in the same order.
    """

    shares_itself_out = True

    def __init__(self, elements: Iterable[Any]) -> None:
        self.elements = elements
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[Any]:
        worker, workers = _worker()
        first = self._rank * workers + worker
        return islice(self.elements, first, None, self._world_size * workers)


class _Sent(NamedTuple):
    """What a worker sends: a batch, and how far the worker had come with it.

    A batch of None only keeps the workers' turns.
    """

    worker: int
    batch: Any
    progress: State


class StreamBatches(IterableDataset[_Sent]):
    """Batches that each worker makes of its share of an iterable dataset.

    Args:
        dataset: iterable; it shares itself out among processes and workers.
        mapper: of each element; None drops one.
        batch_size: of this process.
        collate: makes a batch of a list of mapped elements.
        grouped: whether each batch has only wide or only tall images.
        keep_rest: whether what is left at the end makes smaller batches.
        run_seed: of the samples' draws; with None in it the generators are left alone.

    Attributes:
        begin: where the next iteration begins: a state of :class:`StreamFeed`.
    """

    def __init__(
        self,
        dataset: Iterable[Any],
        mapper: Mapper | None,
        batch_size: int,
        collate: Callable[[list[Any]], Any],
        *,
        grouped: bool,
        keep_rest: bool,
        run_seed: RunSeed,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.collate = collate
        self.grouped = grouped
        self.keep_rest = keep_rest
        self.run_seed = run_seed
        self.begin: State | None = None
        self.stateful = hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")
        self._first_state = self.state_of_dataset() if self.stateful else None
        self._mapper = mapper
        self._rank = comm.get_rank()

    @property
    def skipped(self) -> list[SkippedRecord]:
        """What the mapper left out because it could not be loaded."""
        return list(getattr(self._mapper, "skipped", None) or ())

    def state_of_dataset(self) -> Any:
        """What brings a dataset that has a state back to where it is."""
        dataset: Any = self.dataset
        return copy.deepcopy(dataset.state_dict())

    def elements_from(self, state: Any | None) -> Iterator[Any]:
        """The elements of the dataset, behind a state that it had, or from the first on."""
        if self.stateful:
            dataset: Any = self.dataset
            dataset.load_state_dict(copy.deepcopy(self._first_state if state is None else state))
        return iter(self.dataset)

    def __iter__(self) -> Iterator[_Sent]:
        # Once: a worker that goes on for a further iteration begins it at the beginning.
        begin, self.begin = self.begin, None
        worker, _ = _worker()
        if begin is None:
            return _Share(self, worker, {}).batches()
        progress = begin["workers"][worker]
        batches = _Share(self, worker, progress).batches()
        if worker < begin["next_worker"]:
            # Turns begin with the first worker: those that are not next leave one out.
            batches = chain([_Sent(worker, None, progress)], batches)
        return batches

    def mapped(self, worker: int, number: int, element: Any) -> Any:
        """An element after the mapper, with the generators seeded for its place."""
        if self._mapper is None:
            return element
        if self.run_seed.value is None:
            return self._mapper(element)
        with seeded_sample(self.run_seed.value, self._rank, worker, number):
            return self._mapper(element)


class StreamFeed(Feed):
    """The batches that workers make of a stream, in turns.

    Args:
        batches: makes them, in the workers.
        num_workers: loading processes; 0 loads in this one.
    """

    def __init__(self, batches: StreamBatches, num_workers: int) -> None:
        super().__init__(batches.run_seed, None, batches.batch_size)
        self._batches = batches
        self._workers = max(num_workers, 1)
        processes = self._workers * comm.get_world_size()
        if processes > 1 and not getattr(batches.dataset, "shares_itself_out", False):
            _logger.info(
                "%s is iterated in each of %d loading processes: it has to share itself out among "
                "them, or be wrapped in d2_data.SharedStream",
                type(batches.dataset).__name__,
                processes,
            )

    def start(self, state: State | None) -> Iteration:
        begin = None if state is None else self._turns(state)
        self._batches.begin = begin
        if begin is None:
            return _Turns([{}] * self._workers, 0)
        return _Turns(begin["workers"], begin["next_worker"])

    def _turns(self, state: State) -> State:
        """How far each worker is, and whose turn it is."""
        workers = state.get("workers")
        if workers is not None and len(workers) != self._workers:
            _logger.warning(
                "The saved place in a stream is of %d workers, this loader has %d: other batches "
                "follow than would have. Use as many workers for the same batches",
                len(workers),
                self._workers,
            )
        elif workers is not None and is_of_this_process(state):
            return state
        share, left = divmod(state["batches"], self._workers)
        dropped = any(progress.get("dropped") for progress in workers or ())
        counted = [
            {"batches": share + (worker < left), "dropped": dropped}
            for worker in range(self._workers)
        ]
        return {"workers": counted, "next_worker": left}


class _Turns(Iteration):
    """What comes from the workers in turns.

    Args:
        progress: how far each worker is.
        next_worker: whose turn it is.
    """

    def __init__(self, progress: list[State], next_worker: int) -> None:
        self._progress = list(progress)
        self._next_worker = next_worker

    def receive(self, item: _Sent) -> Iterator[Any]:
        if item.batch is None:
            return
        self._progress[item.worker] = item.progress
        self._next_worker = (item.worker + 1) % len(self._progress)
        yield item.batch

    def place(self) -> State:
        return {"workers": list(self._progress), "next_worker": self._next_worker}


class _Share:
    """The batches of one worker.

    Args:
        stream: what they are made of, and how.
        worker: the worker's number.
        progress: how far it had come; empty at the beginning. What it sent has in it how many
            elements it had ``read`` and which of them were ``waiting`` for a batch; otherwise the
            number of ``batches`` is known.
    """

    def __init__(self, stream: StreamBatches, worker: int, progress: State) -> None:
        self._stream = stream
        self._worker = worker
        self._progress = progress
        self._dropped = bool(progress.get("dropped", False))
        # What brings a dataset with a state back to before an element.
        self._states: dict[int, Any] = {}

    def batches(self) -> Iterator[_Sent]:
        buckets: OrientationBuckets[Numbered] = OrientationBuckets(self._stream.batch_size)
        waiting, elements, read = self._behind_progress()
        for number, element in chain(waiting, elements):
            read = max(read, number + 1)
            mapped = self._stream.mapped(self._worker, number, element)
            if mapped is None:
                self._dropped = True
                continue
            batch = buckets.add((number, mapped), self._is_wide(element, mapped))
            if batch is not None:
                yield self._sent(batch, buckets, read)
        if self._stream.keep_rest and (rest := buckets.waiting()):
            yield self._sent(rest, buckets, read)

    def _behind_progress(self) -> tuple[list[Numbered], Iterator[Numbered], int]:
        """Elements that wait for a batch, those not read so far, and how many were read."""
        elements = self._numbered()
        if "read" in self._progress:
            read, wanted = self._progress["read"], set(self._progress["waiting"])
            begin = self._progress["begin"]
            passed = islice(elements, read - begin)
            return [entry for entry in passed if entry[0] in wanted], elements, read
        waiting: OrientationBuckets[Numbered] = OrientationBuckets(self._stream.batch_size)
        batches, read = self._progress.get("batches", 0), 0
        while batches:
            number, element = next(elements, (None, None))
            if number is None:
                break
            read = number + 1
            mapped = element
            if self._dropped or (self._stream.grouped and not _has_size(element)):
                mapped = self._stream.mapped(self._worker, number, element)
            if mapped is not None:
                full = waiting.add((number, element), self._is_wide(element, mapped))
                batches -= full is not None
        return sorted(waiting.waiting(), key=lambda entry: entry[0]), elements, read

    def _numbered(self) -> Iterator[Numbered]:
        """The elements of the dataset, from where it can be restored to."""
        number = self._progress.get("begin", 0)
        elements = self._stream.elements_from(self._progress["dataset"] if number else None)
        while True:
            if self._stream.stateful:
                self._states[number] = self._stream.state_of_dataset()
            try:
                element = next(elements)
            except StopIteration:
                return
            yield number, element
            number += 1

    def _sent(
        self, batch: list[Numbered], buckets: OrientationBuckets[Numbered], read: int
    ) -> _Sent:
        waiting = sorted(number for number, _ in buckets.waiting())
        progress: State = {"read": read, "waiting": waiting, "begin": 0, "dropped": self._dropped}
        if self._stream.stateful:
            begin = waiting[0] if waiting else read
            self._states[read] = self._stream.state_of_dataset()
            self._states = {n: state for n, state in self._states.items() if n >= begin}
            progress |= {"begin": begin, "dataset": self._states[begin]}
        elements = [element for _, element in batch]
        return _Sent(self._worker, self._stream.collate(elements), progress)

    def _is_wide(self, element: Any, mapped: Any) -> bool:
        if not self._stream.grouped:
            return False
        return is_wide(element if _has_size(element) else mapped)


def _has_size(element: Any) -> bool:
    return isinstance(element, dict) and "width" in element and "height" in element


def _worker() -> tuple[int, int]:
    """The number of this loading process, and how many there are."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
