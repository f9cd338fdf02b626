"""A list as a dataset, held once however many worker processes read it."""

import copy
import logging
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

__all__ = ["DatasetFromList"]

_logger = logging.getLogger(__name__)


class DatasetFromList(Dataset[Any]):
    """The elements of a list.

    Serialised, the whole list lies in two tensors: worker processes share that memory,
    whichever way they are started, where a list of objects would be copied into each as
    soon as reference counts change. Each access then builds a fresh element.

    Args:
        lst: the elements.
        copy: whether an element may be changed without changing the list; serialised
            elements always may.
        serialize: whether to hold the elements serialised.

    Attributes:
        sources: which dataset each element is of, where the list knows it.
    """

    def __init__(self, lst: Sequence[Any], copy: bool = True, serialize: bool = True) -> None:
        self._copy = copy
        self._serialized = _SerializedElements(lst) if serialize else None
        self._elements = None if serialize else lst
        self._length = len(lst)
        self.sources = getattr(lst, "sources", None)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, idx: int) -> Any:
        if self._serialized is not None:
            return self._serialized[idx]
        assert self._elements is not None
        element = self._elements[idx]
        return copy.deepcopy(element) if self._copy else element


class _SerializedElements:
    """Pickled elements end to end in one tensor, and where each of them ends in another."""

    def __init__(self, elements: Sequence[Any]) -> None:
        buffer = bytearray()
        ends = torch.empty(len(elements), dtype=torch.int64)
        for index, element in enumerate(elements):
            buffer += pickle.dumps(element, protocol=pickle.HIGHEST_PROTOCOL)
            ends[index] = len(buffer)
        self._ends = ends
        self._bytes = torch.frombuffer(buffer, dtype=torch.uint8) if buffer else torch.empty(0)
        _logger.info("Serialised %d elements into %.2f MiB", len(elements), len(buffer) / 1024**2)

    def __getitem__(self, index: int) -> Any:
        length = len(self._ends)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range for {length} elements")
        index %= length
        begin = int(self._ends[index - 1]) if index else 0
        end = int(self._ends[index])
        return pickle.loads(self._bytes[begin:end].numpy().data)
