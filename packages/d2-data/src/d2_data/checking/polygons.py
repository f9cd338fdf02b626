"""Do outlines cross themselves?"""

from collections.abc import Iterator, Sequence

import numpy as np

_MOST_PAIRS = 1 << 20
"""Pairs of edges that are compared at once."""


def crossing_themselves(polygons: Sequence[Sequence[float]]) -> np.ndarray:
    """Whether two edges of a closed polygon cross in points that are no corners of either.

    Edges that only touch, repeated points and a last point that repeats the first are no crossing.

    Args:
        polygons: each a flat x, y, x, y, …

    Returns:
        One bool for each.
    """
    crossing = np.zeros(len(polygons), bool)
    corners = np.array([len(polygon) // 2 for polygon in polygons], np.intp)
    if not corners.sum():
        return crossing
    points = np.concatenate([np.asarray(p, np.float64) for p in polygons]).reshape(-1, 2)
    owners = np.repeat(np.arange(len(polygons)), corners)
    following = np.arange(1, len(points) + 1)
    last = np.cumsum(corners) - 1
    following[last[corners > 0]] = (last - corners + 1)[corners > 0]
    ends = points[following]
    for first, second in _pairs_that_may(points, ends, owners):
        crosses = _separates(points, ends, first, second) & _separates(points, ends, second, first)
        crossing[owners[first[crosses]]] = True
    return crossing


def _pairs_that_may(
    starts: np.ndarray, ends: np.ndarray, owners: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of edges of the same polygon whose upright boxes overlap, many at a time.

    Edges are short beside their polygon, so that there are not many more of them than edges.
    """
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    # Polygons are laid side by side, so that one order of edges from left to right serves all.
    left, right = low[:, 0] - low[:, 0].min(), high[:, 0] - low[:, 0].min()
    apart = owners * (right.max() + 1)
    order = np.argsort(apart + left, kind="stable")
    begins = (apart + left)[order]
    tolerance = 1e-9 * (begins[-1] + 1)  # of laying side by side
    until = np.searchsorted(begins, (apart + right)[order] + tolerance)
    counts = np.maximum(until - np.arange(1, len(order) + 1), 0)
    total = np.cumsum(counts)
    edge = 0
    while edge < len(order):
        done = total[edge - 1] if edge else 0
        stop = max(int(np.searchsorted(total, done + _MOST_PAIRS, side="right")), edge + 1)
        some = counts[edge:stop]
        first = np.repeat(np.arange(edge, stop), some)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(some) - some, some)
        first, second = order[first], order[second]
        near = (low[first, 1] < high[second, 1]) & (low[second, 1] < high[first, 1])
        near &= owners[first] == owners[second]
        yield first[near], second[near]
        edge = stop


def _separates(
    starts: np.ndarray, ends: np.ndarray, edges: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Whether the line of each edge has both ends of the other on different sides."""
    origin, along = starts[edges], ends[edges] - starts[edges]
    sides = []
    for points in (starts[others], ends[others]):
        offset = points - origin
        sides.append(np.sign(along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]))
    separates: np.ndarray = sides[0] * sides[1] < 0
    return separates
