"""Several polygons as one."""

from collections.abc import Sequence

import numpy as np

__all__ = ["joined_polygon"]


def joined_polygon(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Join polygons by lines that are gone forth and back, and so enclose nothing.

    Each polygon is joined to what has been joined before at the closest corners.

    Args:
        polygons: at least one, each (N, 2) corners.

    Returns:
        (M, 2) corners of one polygon that encloses what they enclose.
    """
    joined, *rest = polygons
    for polygon in rest:
        distances = np.square(joined[:, None] - polygon[None]).sum(axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        turned = np.roll(polygon, -there, axis=0)
        joined = np.concatenate(
            [joined[: here + 1], turned, turned[:1], joined[here:]],
        )
    return joined
