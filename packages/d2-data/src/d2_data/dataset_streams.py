"""Registered datasets that are no lists: they are never held as a whole."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from d2_data.list_dataset import DatasetFromList
from d2_data.located_errors import located
from d2_data.record_stream import SharedStream

__all__ = ["chained_datasets"]

_logger = logging.getLogger(__name__)


def chained_datasets(
    names: Sequence[str], datasets: Sequence[Any], keep: Callable[[Any], bool] | None
) -> Dataset[Any]:
    """Datasets of which at least one is no list, one after the other.

    Args:
        names: of the datasets.
        datasets: lists of dicts and torch datasets.
        keep: whether an element is to be used, or None to use all. It is asked as the elements of
            an iterable dataset come; those of a map-style one are all used, as asking would read
            them.

    Returns:
        An iterable dataset if one of them is, otherwise a map-style one.
    """
    if any(isinstance(dataset, IterableDataset) for dataset in datasets):
        streams = [_as_stream(dataset) for dataset in datasets]
        if all(_has_state(stream) for stream in streams):
            return _RestorableStreams(names, streams, keep)
        return _Streams(names, streams, keep)
    if keep is not None:
        _logger.info(
            "All elements of %s are used, those without annotations too: they are no lists, and "
            "to filter them would read them",
            ", ".join(names),
        )
    return ConcatDataset([_as_map_style(dataset) for dataset in datasets])


def _as_stream(dataset: Any) -> Iterable[Any]:
    return dataset if isinstance(dataset, IterableDataset) else SharedStream(_Elements(dataset))


def _as_map_style(dataset: Any) -> Dataset[Any]:
    return DatasetFromList(dataset, copy=False) if isinstance(dataset, list) else dataset


def _has_state(stream: Any) -> bool:
    return hasattr(stream, "state_dict") and hasattr(stream, "load_state_dict")


class _Elements:
    """A list or map-style dataset to be iterated, held once for all workers."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = _as_map_style(dataset)

    def __iter__(self) -> Iterator[Any]:
        return map(self._dataset.__getitem__, range(len(self._dataset)))  # type: ignore[arg-type]  # map-style ones have a length


class _Streams(IterableDataset[Any]):
    """Iterable datasets one after the other, without the elements that are not to be used.

    Args:
        names: of the datasets.
        streams: the datasets.
        keep: whether an element is to be used, or None to use all.
    """

    def __init__(
        self,
        names: Sequence[str],
        streams: Sequence[Iterable[Any]],
        keep: Callable[[Any], bool] | None,
    ) -> None:
        self._names = list(names)
        self._streams: list[Any] = list(streams)
        self._keep = keep
        self._first = 0
        self._current = 0
        self.shares_itself_out = all(isinstance(stream, SharedStream) for stream in streams)

    def __iter__(self) -> Iterator[Any]:
        first, self._first = self._first, 0
        for number, (name, stream) in islice(
            enumerate(zip(self._names, self._streams, strict=True)), first, None
        ):
            self._current = number
            with located(f"dataset {name!r}"):
                yield from stream if self._keep is None else filter(self._keep, stream)


class _RestorableStreams(_Streams):
    """The same where each dataset can be brought back to a place."""

    def __init__(
        self,
        names: Sequence[str],
        streams: Sequence[Any],
        keep: Callable[[Any], bool] | None,
    ) -> None:
        super().__init__(names, streams, keep)
        self._first_states = [stream.state_dict() for stream in streams]

    def state_dict(self) -> dict[str, Any]:
        """Which dataset is read, and its state."""
        return {"dataset": self._current, "state": self._streams[self._current].state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind what :meth:`state_dict` says was read."""
        self._first = self._current = state_dict["dataset"]
        for number, (stream, first) in enumerate(
            zip(self._streams, self._first_states, strict=True)
        ):
            stream.load_state_dict(state_dict["state"] if number == self._current else first)
