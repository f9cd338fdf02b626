"""Does an outline cross itself?"""

from collections.abc import Sequence

import numpy as np

_BLOCK = 512  # edges that are compared with all others at once


def crosses_itself(polygon: Sequence[float]) -> bool:
    """Whether two edges of a closed polygon cross in points that are no corners of either.

    Edges that only touch, repeated points and a last point that repeats the first are no crossing.

    Args:
        polygon: flat x, y, x, y, …
    """
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    if len(points) < 4:
        return False
    ends = np.roll(points, -1, axis=0)
    return any(
        _crossing(points[first : first + _BLOCK], ends[first : first + _BLOCK], points, ends)
        for first in range(0, len(points), _BLOCK)
    )


def _crossing(
    starts: np.ndarray, ends: np.ndarray, all_starts: np.ndarray, all_ends: np.ndarray
) -> bool:
    """Whether an edge has both ends of another on different sides, and the other way round."""
    across = _side(starts, ends, all_starts) * _side(starts, ends, all_ends) < 0
    if not across.any():
        return False
    back = _side(all_starts, all_ends, starts) * _side(all_starts, all_ends, ends) < 0
    return bool((across & back.T).any())


def _side(starts: np.ndarray, ends: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(E, P): on which side of each edge's line each point is; 0 for on it."""
    (dx, dy), offset = (ends - starts).T[:, :, None], points[None] - starts[:, None]
    side: np.ndarray = np.sign(dx * offset[..., 1] - dy * offset[..., 0])
    return side
