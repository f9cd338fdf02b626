"""A list as a dataset, held once however many processes read it."""

import copy
import logging
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from d2_data.annotation_file import paused_collector
from d2_data.packed_records import CHUNK, RecordPacker, unpack
from d2_data.shared_bytes import SharedBytes

__all__ = ["DatasetFromList"]

_logger = logging.getLogger(__name__)


class DatasetFromList(Dataset[Any]):
    """The elements of a list.

    Serialised, the whole list lies in one file that is mapped into memory: all worker processes,
    whichever way they are started, and all processes of the machine that load the same list share
    it, where a list of objects would be copied into each as soon as reference counts change. Each
    access then builds a fresh element, equal to the one in the list.

    Args:
        lst: the elements.
        copy: whether an element may be changed without changing the list; serialised
            elements always may.
        serialize: whether to hold the elements serialised.

    Attributes:
        sources: which dataset each element is of, where the list knows it.
        wide: (N,) bool, whether the width of each element exceeds its height; None if not all are
            dicts that tell.
    """

    def __init__(self, lst: Sequence[Any], copy: bool = True, serialize: bool = True) -> None:
        self._copy = copy
        self.wide = _wide(lst)
        self._serialized = _SerializedElements(lst) if serialize else None
        self._elements = None if serialize else lst
        self._length = len(lst)
        self.sources = getattr(lst, "sources", None)

    @property
    def nbytes(self) -> int:
        """The size of the serialised elements; 0 if they are not serialised."""
        return 0 if self._serialized is None else self._serialized.nbytes

    @property
    def file(self) -> str | None:
        """The file with the serialised elements; None if they are few, or there can be none."""
        return None if self._serialized is None else self._serialized.file

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, idx: int) -> Any:
        if self._serialized is not None:
            return self._serialized[idx]
        assert self._elements is not None
        element = self._elements[idx]
        return copy.deepcopy(element) if self._copy else element


def _wide(elements: Sequence[Any]) -> NDArray[np.bool_] | None:
    try:
        sides = ((element["width"], element["height"]) for element in elements)
        return np.fromiter((bool(width > height) for width, height in sides), bool, len(elements))
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError):  # elements of any kind
        return None


class _SerializedElements:
    """Packed elements end to end, and behind them where the parts of each end."""

    def __init__(self, elements: Sequence[Any]) -> None:
        packer = RecordPacker()
        with paused_collector():
            parts, ends = _packed(packer, elements)
        self._length = len(elements)
        self._templates = packer.templates
        parts.append(ends.tobytes())
        size = sum(map(len, parts))
        self._bytes = SharedBytes(lambda: parts, size)
        _logger.info("Packed %d elements into %.2f MiB", len(elements), size / 1024**2)

    @property
    def nbytes(self) -> int:
        return len(self._bytes)

    @property
    def file(self) -> str | None:
        return self._bytes.path

    def __getitem__(self, index: int) -> Any:
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} is out of range for {self._length} elements")
        view = self._bytes.view
        # Two ends for each element, the one before the first being 0.
        table = np.frombuffer(view, np.int64, 2 * self._length, len(view) - 16 * self._length)
        place = 2 * (index % self._length)
        begin = int(table[place - 1]) if place else 0
        middle, end = table[place : place + 2].tolist()
        return unpack(view[begin:middle], view[middle:end], self._templates)


def _packed(packer: RecordPacker, elements: Sequence[Any]) -> tuple[list[bytes], np.ndarray]:
    """The bytes of all elements, and where each part of an element ends in them."""
    parts: list[bytes] = []
    sizes = array("q")
    for begin in range(0, len(elements), CHUNK):
        pieces = list(chain.from_iterable(packer.pack(elements[begin : begin + CHUNK])))
        sizes.extend(map(len, pieces))
        parts.append(b"".join(pieces))
    return parts, np.cumsum(sizes, dtype=np.int64)
