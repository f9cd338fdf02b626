"""Corners of a rotated box."""

from collections.abc import Sequence

import numpy as np

__all__ = ["rotated_corners"]


def rotated_corners(rotated_box: Sequence[float] | np.ndarray) -> np.ndarray:
    """(4, 2) float64 corners (x, y) in pixels, clockwise at angle 0 from the upper left one.

    Args:
        rotated_box: x centre, y centre, width and height in pixels, degrees counter-clockwise.
    """
    x, y, width, height, angle_deg = (float(value) for value in rotated_box)
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    across = np.array([width * cos, -width * sin]) / 2
    down = np.array([height * sin, height * cos]) / 2
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([(x, y) + a * across + b * down for a, b in signs])
