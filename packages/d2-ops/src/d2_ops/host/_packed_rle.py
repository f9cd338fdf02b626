"""Many run-length encoded masks as a few arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _host
from ._array_arguments import integers
from ._rle import list_of_rles


class PackedRLEs(NamedTuple):
    """N run-length encoded masks.

    Attributes:
        text: (bytes,) uint8, the ``counts`` of all, one after the other.
        ends: (N,) int64, where those of each end.
        sizes: (N, 2) int64, height and width of each.
    """

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]


def pack_rles(rles: Sequence[Mapping[str, Any]]) -> PackedRLEs:
    """Lay out RLEs for the functions that take many of them.

    Args:
        rles: dicts of ``size`` and ``counts``, which is bytes, text or a list of lengths.

    Raises:
        ValueError: if a size is negative. Compressed counts are not looked at.
        KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
    """
    listed = list_of_rles(rles, "rles")
    ends, sizes = np.empty(len(listed), np.int64), np.empty((len(listed), 2), np.int64)
    text = _host.pack_rles(listed, ends, sizes)
    return PackedRLEs(np.frombuffer(text, np.uint8), ends, sizes)


def checked_packed_rles(name: str, masks: PackedRLEs, count: int) -> PackedRLEs:
    """These masks as the kernels take them.

    Raises:
        ValueError: if they are not ``count``, or their ends leave the text.
    """
    ends = integers(f"{name}.ends", masks.ends, count)
    text = np.ascontiguousarray(masks.text, np.uint8)
    if count and (ends[0] < 0 or ends[-1] > text.size or (np.diff(ends) < 0).any()):
        raise ValueError(f"{name}.ends must ascend from 0 to at most {text.size}, its text")
    sizes = np.ascontiguousarray(masks.sizes, np.int64)
    if sizes.shape != (count, 2):
        raise ValueError(f"{name}.sizes must have shape ({count}, 2), got {sizes.shape}")
    return PackedRLEs(text, ends, sizes)


def packed_rle_areas(masks: PackedRLEs, *, num_threads: int = 0) -> NDArray[np.int64]:
    """Count the set pixels of each mask: (N,).

    Raises:
        ValueError: if a mask is not an encoding of its size; the message gives its index.
    """
    checked = checked_packed_rles("masks", masks, len(masks.ends))
    areas = np.empty(len(checked.ends), np.int64)
    _host.mask_areas(*checked, areas, num_threads)
    return areas
