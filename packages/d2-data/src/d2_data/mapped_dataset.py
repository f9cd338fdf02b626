"""Datasets that change the elements of another one."""

import logging
import random
from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

__all__ = ["MapDataset"]

_logger = logging.getLogger(__name__)


class MapDataset(Dataset[Any]):
    """The elements of a dataset after a function.

    A function that cannot handle an element raises; one that *wants* an element to be
    replaced returns None: then other elements are tried, each time with a warning that
    names the index, and the choice depends on the index alone.

    Args:
        dataset: map-style.
        map_func: takes an element, returns the mapped one, or None.

    Raises:
        RuntimeError: on access, if the function refuses ``max_tries`` elements in turn.
    """

    max_tries = 100

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        if not callable(map_func):
            raise TypeError(f"MapDataset wants a function of an element, got {map_func!r}")
        self._dataset = dataset
        self._map_func = map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        choose = random.Random(idx)
        current = idx
        for _ in range(self.max_tries):
            mapped = self._map_func(self._dataset[current])
            if mapped is not None:
                return mapped
            replacement = choose.randrange(len(self._dataset))
            _logger.warning(
                "The map function returned None for element %d: trying element %d",
                current,
                replacement,
            )
            current = replacement
        raise RuntimeError(
            f"the map function returned None for {self.max_tries} elements in turn, from index "
            f"{idx} on; it should raise the error that makes elements unusable"
        )
