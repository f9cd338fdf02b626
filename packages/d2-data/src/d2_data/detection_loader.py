"""A loader whose position can be saved, so that a run goes on as if it had not stopped."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from d2_data.freed_memory import return_freed_memory
from d2_data.loading_processes import are_of_a_fork_server, guard_workers, starting_workers
from d2_data.lost_workers import naming_lost_workers
from d2_data.skipped_records import SkippedRecord
from d2_data.stopped_workers import giving_up_stopped_workers
from d2_structures import comm

__all__ = ["DetectionLoader"]

_logger = logging.getLogger(__name__)

_CHECK_PERIOD_S = 5.0
_END = object()

State = dict[str, Any]


class RunSeed:
    """The seed of the samples' draws, which whoever loads knows and a resumed loader changes.

    Attributes:
        value: the seed, or None where samples have no draws of their own.
    """

    def __init__(self, value: int | None) -> None:
        self.value = value


class Iteration(ABC):
    """One pass over the batches of a loader, from where it began."""

    @abstractmethod
    def receive(self, item: Any) -> Iterator[Any]:
        """The batches, none or one, that what the loading processes sent completes."""

    def place(self) -> State:
        """What else than the number of batches is needed to come back to this place."""
        return {}


class Feed(ABC):
    """Where the batches of a loader come from, and how to find a place among them.

    Attributes:
        run_seed: of the samples' draws.
        sampler: of this process' indices, if any.
        batch_size: of this process.
    """

    def __init__(self, run_seed: RunSeed, sampler: Any, batch_size: int) -> None:
        self.run_seed = run_seed
        self.sampler = sampler
        self.batch_size = batch_size

    @abstractmethod
    def start(self, state: State | None) -> Iteration:
        """Make what is sent next begin behind a place, or at the beginning."""


class DetectionLoader(DataLoader[Any]):
    """A ``DataLoader`` whose position can be saved and restored.

    Between two batches :meth:`state_dict` says how far the latest iteration has come; the next
    iteration of a loader that was given it by :meth:`load_state_dict` yields exactly the batches
    that would have followed, with the same draws. Batches that worker processes prepared in
    advance do not count. Each further iteration begins at the beginning.

    What lies behind is not loaded again: indices are skipped, no image is read. An iterable
    dataset is read up to the place without mapping, unless it has ``state_dict`` and
    ``load_state_dict`` itself. Where several processes train, each has a state of its own; that of
    another serves as well, but then elements whose place in the batches only they themselves tell
    are loaded again.

    Args:
        feed: where the batches come from.
        kwargs: of ``DataLoader``.
    """

    asks_whether_workers_live = True  # see `guard_workers`

    def __init__(self, feed: Feed, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._feed = feed
        self._restored: State | None = None
        self._iteration: Iteration | None = None
        self._batches = 0
        guard_workers(self)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its iterator class
        state, self._restored = self._restored, None
        self._batches = 0 if state is None else state["batches"]
        self._iteration = self._feed.start(state)
        if state is not None and self.num_workers > 0:
            # Persistent workers, which began elsewhere, cannot be told.
            self._iterator = None
        if self.num_workers > 0:
            return_freed_memory()
        with starting_workers():
            items = super().__iter__()
        return self._follow(self._iteration, items)

    @property
    def skipped(self) -> list[SkippedRecord]:
        """What was left out so far because it could not be loaded, in all loading processes."""
        return list(getattr(self.dataset, "skipped", ()))

    def _follow(self, iteration: Iteration, items: Iterator[Any]) -> Iterator[Any]:
        if looks_after_them := bool(self.timeout) and are_of_a_fork_server(self):
            items._timeout = min(self.timeout, _CHECK_PERIOD_S)  # type: ignore[attr-defined]
        with giving_up_stopped_workers(self.timeout if self.num_workers > 0 else 0):
            while True:
                with naming_lost_workers():
                    item = self._awaited(items) if looks_after_them else next(items, _END)
                if item is _END:
                    break
                for batch in iteration.receive(item):
                    if iteration is self._iteration:
                        self._batches += 1
                    yield batch
        if skipped := self.skipped:
            _logger.warning(
                "%d records could not be loaded and were left out, e.g. %s: %s. The loader's "
                "'skipped' lists them",
                len(skipped),
                *skipped[0],
            )

    def _awaited(self, items: Iterator[Any]) -> Any:
        """The next item, within the limit on waiting.

        That a child of a fork server has ended is no news to this process: torch looks whenever a
        time of waiting is over, after which it can be asked again.
        """
        begin = time.monotonic()
        while True:
            try:
                return next(items, _END)
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise
                if time.monotonic() - begin >= self.timeout:
                    told = f"DataLoader timed out after {self.timeout} seconds"
                    raise RuntimeError(told) from error

    def state_dict(self) -> State:
        """The place behind the batch that was given out last, in plain numbers and containers."""
        if self._restored is not None:
            return dict(self._restored)
        return {
            "batches": self._batches,
            "batch_size": self._feed.batch_size,
            "rank": comm.get_rank(),
            "world_size": comm.get_world_size(),
            "seed": self._feed.run_seed.value,
            "sampler_seed": getattr(self._feed.sampler, "seed", None),
            **({} if self._iteration is None else self._iteration.place()),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Make the next iteration begin at a place that :meth:`state_dict` returned.

        Seeds become those of the state: also a stream whose seeds were drawn goes on. A state with
        nothing but ``"batches"`` means so many batches from the beginning.

        Raises:
            KeyError: if the state does not say how many batches there were.
        """
        if "batches" not in state_dict:
            raise KeyError(
                "the state of a loader has 'batches', the number of batches to go behind; got "
                f"{sorted(state_dict)}"
            )
        state = dict(state_dict)
        _take_seed(self._feed.run_seed, "value", state.get("seed"))
        _take_seed(self._feed.sampler, "seed", state.get("sampler_seed"))
        self._restored = self._in_batches_of_this_loader(state)

    def _in_batches_of_this_loader(self, state: State) -> State:
        """The state, or one that counts the same samples where batches have another size."""
        processes = comm.get_world_size()
        own = self._feed.batch_size * processes
        saved = state.get("batch_size", self._feed.batch_size) * state.get("world_size", processes)
        if saved == own:
            return state
        batches = state["batches"] * saved // own
        _logger.warning(
            "The saved state is of batches of %d, over all processes, these have %d: going on "
            "behind %d batches",
            saved,
            own,
            batches,
        )
        return {"batches": batches}


def _take_seed(holder: Any, name: str, saved: int | None) -> None:
    own = getattr(holder, name, None)
    if saved is not None and own is not None and saved != own:
        _logger.warning(
            "The loader goes on with the seed %d of the saved state, not %d", saved, own
        )
        setattr(holder, name, saved)


def is_of_this_process(state: State) -> bool:
    """Whether a state was saved by the process of this rank among as many."""
    place = comm.get_rank(), comm.get_world_size()
    return (state.get("rank"), state.get("world_size")) == place
