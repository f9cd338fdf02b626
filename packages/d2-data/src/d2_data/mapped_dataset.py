"""Datasets that change the elements of another one."""

import logging
import os
import random
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

from d2_data.located_errors import locate, picture
from d2_data.skipped_records import OnError, SkippedRecord, SkippedRecords, checked_on_error

__all__ = ["GuardedMapper", "MapDataset", "record_held_by"]

_logger = logging.getLogger(__name__)

_SLOTS = 1024


class MapDataset(Dataset[Any]):
    """The elements of a dataset after a function.

    An error of the function gets the names of the dataset and the picture, and is raised or, with
    ``on_error="skip"``, logged and listed. A function may also return None for an element that it
    wants to be replaced. In place of an element that was skipped or replaced others are tried,
    each time with a warning, and the choice depends on the index alone.

    Args:
        dataset: map-style.
        map_func: takes an element, returns the mapped one, or None.
        on_error: ``"raise"`` what the function raises, or ``"skip"`` the element.
        replace: whether another element takes the place of one that is left out; otherwise None
            does.

    Raises:
        RuntimeError: on access, if the function refuses ``max_tries`` elements in turn.
    """

    max_tries = 100

    def __init__(
        self,
        dataset: Any,
        map_func: Callable[[Any], Any],
        on_error: OnError = "raise",
        *,
        replace: bool = True,
    ) -> None:
        if not callable(map_func):
            raise TypeError(f"MapDataset wants a function of an element, got {map_func!r}")
        self._dataset = dataset
        self._map_func = map_func
        self._replace = replace
        skips = checked_on_error(on_error, "MapDataset") == "skip"
        self._skipped = SkippedRecords() if skips else None
        # (process, index) of what each worker maps, where this process sees it after its death
        self._held = torch.full((_SLOTS, 2), -1).share_memory_()
        _mapped_datasets.add(self)

    @property
    def skipped(self) -> list[SkippedRecord]:
        """What was left out so far by all loading processes, here or by the function itself."""
        return [*(self._skipped or ()), *(getattr(self._map_func, "skipped", None) or ())]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        choose = random.Random(idx)
        current = idx
        failure: Exception | None = None
        for _ in range(self.max_tries):
            try:
                mapped = self._mapped(current)
            except Exception as error:
                if self._skipped is None:
                    raise
                self._skipped.add(self._element(current), error)
                mapped, failure = None, error
            if mapped is not None or not self._replace:
                return mapped
            replacement = choose.randrange(len(self._dataset))
            if failure is None:
                _logger.warning(
                    "The map function returned None for element %d: trying element %d",
                    current,
                    replacement,
                )
            current = replacement
        raise RuntimeError(
            f"the map function returned None for, or failed on, {self.max_tries} elements in turn, "
            f"from index {idx} on; the last error is what makes elements unusable"
            if failure
            else f"the map function returned None for {self.max_tries} elements in turn, from "
            f"index {idx} on; it should raise the error that makes elements unusable"
        ) from failure

    def _mapped(self, index: int) -> Any:
        if get_worker_info() is not None:
            process = os.getpid()
            self._held[process % _SLOTS] = torch.tensor((process, index))
        element = self._dataset[index]
        try:
            return self._map_func(element)
        except Exception as error:
            locate(error, picture(element))
            sources = getattr(self._dataset, "sources", None)
            if sources is not None:
                locate(error, f"dataset {sources.name_of(index)!r}")
            raise

    def _element(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except Exception:  # what failed may have been getting the element itself
            return index

    def held_by(self, process: int) -> str | None:
        """Name what a loading process maps, or mapped when it ended.

        Args:
            process: its id.

        Returns:
            The picture, or None if the process never loaded from this dataset.
        """
        slot, index = self._held[process % _SLOTS].tolist()
        if slot != process:
            return None
        return f"{picture(self._element(index))}, element {index}"


class GuardedMapper:
    """A mapper whose errors name the picture, and are raised or listed.

    Args:
        mapper: takes an element, returns the mapped one, or None.
        on_error: ``"raise"`` errors, or ``"skip"`` the element: return None.
    """

    def __init__(self, mapper: Callable[[Any], Any], on_error: OnError = "raise") -> None:
        self._mapper = mapper
        skips = checked_on_error(on_error, "GuardedMapper") == "skip"
        self._skipped = SkippedRecords() if skips else None

    @property
    def skipped(self) -> list[SkippedRecord]:
        """What was left out so far by all loading processes, here or by the mapper itself."""
        return [*(self._skipped or ()), *(getattr(self._mapper, "skipped", None) or ())]

    def __call__(self, element: Any) -> Any:
        try:
            return self._mapper(element)
        except Exception as error:
            locate(error, picture(element))
            if self._skipped is None:
                raise
            self._skipped.add(element, error)
            return None


_mapped_datasets: "weakref.WeakSet[MapDataset]" = weakref.WeakSet()


def record_held_by(process: int) -> str | None:
    """Name the record that a loading process of this one works on, or worked on when it ended.

    Args:
        process: the id of the worker.

    Returns:
        The picture, or None if it cannot be told.
    """
    found = (dataset.held_by(process) for dataset in list(_mapped_datasets))
    return next((record for record in found if record is not None), None)
