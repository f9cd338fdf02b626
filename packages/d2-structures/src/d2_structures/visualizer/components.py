"""Connected parts of a binary mask, found on its horizontal runs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Component", "find_components", "without_small_components"]


class Component(NamedTuple):
    """One 8-connected part of a mask."""

    area: int
    """Pixels."""
    anchor: tuple[float, float]
    """(x, y) inside the part and near its middle, continuous coordinates."""


class _Runs(NamedTuple):
    """Horizontal runs of set pixels in reading order; ``owner`` numbers their components."""

    rows: NDArray[np.intp]
    begins: NDArray[np.intp]
    ends: NDArray[np.intp]
    owner: NDArray[np.intp]


def find_components(mask: NDArray[np.bool_]) -> list[Component]:
    """The components of an (H, W) mask, largest first."""
    runs = _connect(mask)
    lengths = runs.ends - runs.begins
    areas = np.bincount(runs.owner, weights=lengths).astype(np.intp)
    order = np.argsort(-areas, kind="stable")
    by_owner = np.argsort(runs.owner, kind="stable")
    bounds = np.searchsorted(runs.owner[by_owner], np.arange(len(areas) + 1))
    components = []
    for index in order:
        members = by_owner[bounds[index] : bounds[index + 1]]
        components.append(Component(int(areas[index]), _anchor(runs, members)))
    return components


def without_small_components(mask: NDArray[np.bool_], min_area: float) -> NDArray[np.bool_]:
    """A copy of an (H, W) mask in which components below ``min_area`` pixels are cleared."""
    runs = _connect(mask)
    lengths = runs.ends - runs.begins
    keep = np.bincount(runs.owner, weights=lengths)[runs.owner] >= min_area
    width = mask.shape[1] + 1
    steps = np.zeros(mask.shape[0] * width, np.int8)
    steps[runs.rows[keep] * width + runs.begins[keep]] = 1
    steps[runs.rows[keep] * width + runs.ends[keep]] = -1
    return np.cumsum(steps, dtype=np.int8).reshape(-1, width)[:, :-1].astype(bool)


def _anchor(runs: _Runs, members: NDArray[np.intp]) -> tuple[float, float]:
    """The middle of the longest run in the row that halves the component's area."""
    rows = runs.rows[members]
    lengths = runs.ends[members] - runs.begins[members]
    half = np.searchsorted(np.cumsum(lengths), lengths.sum() / 2)
    row = rows[half]
    in_row = members[rows == row]
    longest = in_row[np.argmax(runs.ends[in_row] - runs.begins[in_row])]
    return (runs.begins[longest] + runs.ends[longest]) / 2, float(row) + 0.5


def _connect(mask: NDArray[np.bool_]) -> _Runs:
    height, width = mask.shape
    padded = np.zeros((height, width + 1), np.int8)
    padded[:, :-1] = mask
    steps = np.diff(padded.reshape(-1), prepend=np.int8(0))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    upper, lower = _touching_runs(begins, ends, width + 1)
    owner = _join(len(begins), upper, lower)
    rows = begins // (width + 1)
    return _Runs(rows, begins - rows * (width + 1), ends - rows * (width + 1), owner)


def _touching_runs(
    begins: NDArray[np.intp], ends: NDArray[np.intp], row_length: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of runs in neighbouring rows that share a side or a corner.

    The empty column behind each row keeps a corner from reaching round into the next row.
    """
    first = np.searchsorted(ends, begins + row_length, side="left")
    stop = np.searchsorted(begins, ends + row_length, side="right")
    counts = np.maximum(stop - first, 0)
    upper = np.repeat(np.arange(len(begins)), counts)
    lower = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return upper, lower


def _join(count: int, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the sets that the pairs (left, right) connect, from 0 in order of first member."""
    root = np.arange(count)
    while True:
        a, b = root[left], root[right]
        apart = a != b
        if not apart.any():
            break
        np.minimum.at(root, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while True:
            shorter = root[root]
            if np.array_equal(shorter, root):
                break
            root = shorter
    return np.unique(root, return_inverse=True)[1]
