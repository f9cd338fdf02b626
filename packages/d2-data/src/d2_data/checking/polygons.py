"""Do outlines cross themselves?"""

from collections import defaultdict
from collections.abc import Sequence

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
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for place, polygon in enumerate(polygons):
        if len(polygon) >= 8:
            by_length[len(polygon)].append(place)
    for length, places in by_length.items():
        corners = length // 2
        together = max(_MOST_PAIRS // corners**2, 1)
        for first in range(0, len(places), together):
            chosen = places[first : first + together]
            stack = np.array([polygons[place] for place in chosen], np.float64)
            crossing[chosen] = _crossing(stack.reshape(len(chosen), corners, 2))
    return crossing


def _crossing(points: np.ndarray) -> np.ndarray:
    """(N,): whether two edges of (N, corners, 2) have the ends of each other on different sides."""
    count, edges, _ = points.shape
    ends = np.roll(points, -1, axis=1)
    separates = np.empty((count, edges, edges), bool)
    block = max(_MOST_PAIRS // (count * edges), 1)
    for first in range(0, edges, block):
        some = slice(first, first + block)
        of_starts = _side(points[:, some], ends[:, some], points)
        # The sides of the corners that edges end at are the same, one further.
        separates[:, some] = of_starts * np.roll(of_starts, -1, axis=2) < 0
    return np.asarray((separates & separates.transpose(0, 2, 1)).any(axis=(1, 2)))


def _side(starts: np.ndarray, ends: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, E, P): on which side of each edge's line each point is; 0 for on it."""
    dx, dy = np.moveaxis(ends - starts, 2, 0)[..., None]
    x, y = np.moveaxis(points, 2, 0)[:, :, None]
    start_x, start_y = np.moveaxis(starts, 2, 0)[..., None]
    side: np.ndarray = np.sign(dx * (y - start_y) - dy * (x - start_x))
    return side
