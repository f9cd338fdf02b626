"""Corners of rotated boxes."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["rotated_corners"]


def rotated_corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4, 2) corners of (N, 5) rotated boxes (cx, cy, w, h, degrees counter-clockwise).

    They begin with the corner that is the upper left one at angle 0 and go round clockwise, as
    seen in the picture at angle 0.
    """
    centre, size, angles = boxes[:, None, :2], boxes[:, None, 2:4], np.radians(boxes[:, 4])
    half = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * size
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x, y = half[..., 0], half[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1) + centre
