"""Many run-length encoded masks as a few arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _host
from ._array_arguments import integers
from ._rle import _counts_of, _size_of


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
        ValueError: if a size is negative.
    """
    counts = [_counts_of(rle) for rle in rles]
    return PackedRLEs(
        np.frombuffer(b"".join(counts), np.uint8),
        np.cumsum(np.fromiter(map(len, counts), np.int64, len(counts))),
        np.array([_size_of(rle) for rle in rles], np.int64).reshape(-1, 2),
    )


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
