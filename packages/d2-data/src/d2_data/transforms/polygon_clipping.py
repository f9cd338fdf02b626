"""Cutting polygons at the edges of a window."""

import numpy as np


def clip_polygon(polygon: np.ndarray, window_xyxy: tuple[float, float, float, float]) -> np.ndarray:
    """The part of a simple polygon inside an axis-aligned window.

    Args:
        polygon: (N, 2) points (x, y), N >= 3, without repeating the first at the end.
        window_xyxy: (x0, y0, x1, y1).

    Returns:
        (M, 2) points; M == 0 where nothing of positive area is inside. Where a concave
        polygon falls into several parts they stay joined by edges that run along the
        window's border and enclose no area, so areas and rasterised masks are exact.

    Source: Sutherland and Hodgman, "Reentrant polygon clipping", CACM 17(1), 1974.
    """
    points = np.asarray(polygon)
    x0, y0, x1, y1 = window_xyxy
    for axis, bound, sign in ((0, x0, 1), (1, y0, 1), (0, x1, -1), (1, y1, -1)):
        points = _clip_half_plane(points, axis, bound, sign)
        if len(points) < 3:
            return points[:0]
    return points if _area(points) > 0 else points[:0]


def _clip_half_plane(points: np.ndarray, axis: int, bound: float, sign: int) -> np.ndarray:
    """Keep the side where ``sign * (coordinate - bound) >= 0``."""
    inside_by = sign * (points[:, axis] - bound)
    inside = inside_by >= 0
    if inside.all():
        return points
    following = np.roll(points, -1, axis=0)
    following_by = np.roll(inside_by, -1)
    crosses = inside != (following_by >= 0)
    span = np.where(crosses, inside_by - following_by, 1)
    crossings = points + (inside_by / span)[:, None] * (following - points)
    crossings[:, axis] = bound
    # Each edge gives its start, if inside, then its crossing, if any.
    candidates = np.stack([points, crossings], axis=1).reshape(-1, 2)
    return candidates[np.stack([inside, crosses], axis=1).reshape(-1)]


def _area(points: np.ndarray) -> float:
    x, y = (points - points.mean(axis=0)).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
