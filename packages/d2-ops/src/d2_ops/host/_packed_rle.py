"""Many run-length encoded masks as a few arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host
from ._array_arguments import integers
from ._rle import RLE, list_of_rles, mask_stack


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


def pack_masks(masks: ArrayLike, *, num_threads: int = 0) -> PackedRLEs:
    """Encode a stack of masks without a Python object for each.

    Args:
        masks: (N, H, W), bool or numbers; what is not 0 is set.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Raises:
        ValueError: for other shapes.
    """
    array = np.asarray(masks)
    if array.ndim != 3:
        raise ValueError(f"masks must have shape (N, H, W), got {array.shape}")
    ends = np.empty(len(array), np.int64)
    text = _host.pack_masks(*mask_stack(array), ends, num_threads)
    sizes = np.broadcast_to(np.array(array.shape[1:], np.int64), (len(array), 2)).copy()
    return PackedRLEs(np.frombuffer(text, np.uint8), ends, sizes)


def join_packed_rles(parts: Sequence[PackedRLEs]) -> PackedRLEs:
    """Lay packed masks one after the other."""
    if not parts:
        return pack_rles(())
    lengths = np.array([part.text.size for part in parts], np.int64)
    starts = np.cumsum(lengths) - lengths
    return PackedRLEs(
        np.concatenate([part.text for part in parts]),
        np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.sizes for part in parts]),
    )


def select_packed_rles(
    masks: PackedRLEs, rows: NDArray[np.int64] | NDArray[np.bool_]
) -> PackedRLEs:
    """Return some of packed masks.

    Args:
        masks: N masks.
        rows: which, by their indices or by (N,) flags.
    """
    chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    starts = np.concatenate([[0], masks.ends[:-1]]) if len(masks.ends) else masks.ends
    lengths = (masks.ends - starts)[chosen]
    ends = np.cumsum(lengths)
    gaps = np.repeat(starts[chosen] - (ends - lengths), lengths)
    return PackedRLEs(masks.text[np.arange(gaps.size) + gaps], ends, masks.sizes[chosen])


def unpack_rles(masks: PackedRLEs) -> list[RLE]:
    """Return packed masks as RLE dicts."""
    text, start, unpacked = masks.text.tobytes(), 0, list[RLE]()
    for end, size in zip(masks.ends.tolist(), masks.sizes.tolist(), strict=True):
        unpacked.append({"size": size, "counts": text[start:end]})
        start = end
    return unpacked


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
