"""Outlines of the four shapes."""

from __future__ import annotations

import math

import numpy as np

CLASSES = ("ellipse", "triangle", "rectangle", "star")
"""Names of the object classes; the index is the contiguous class id."""

KEYPOINTS = ("center", "top", "right", "bottom", "left")
"""Names of the keypoints of every object, in file order."""

_SUBPIXEL = 64
"""Vertices lie on a grid of 1/64 pixel, so that the last bit of a platform's sine does not show."""


def draw_outline(rng: np.random.Generator, class_id: int, diameter: float) -> np.ndarray:
    """Draw the outline of one object, rotated at random, around the origin.

    Args:
        rng: source of the draws; how many are taken depends on the class.
        class_id: index into ``CLASSES``.
        diameter: of the circle around the shape before it is squeezed, pixels.

    Returns:
        (V, 2) float64 vertices in pixels, x to the right and y downwards.
    """
    radius = diameter / 2
    name = CLASSES[class_id]
    if name == "ellipse":
        angles = np.arange(40) * (2 * math.pi / 40)
        aspect = 1 - 0.5 * rng.random()
        points = np.stack([np.cos(angles), aspect * np.sin(angles)], axis=1)
    elif name == "triangle":
        angles = (np.arange(3) + 0.22 * (rng.random(3) - 0.5) * 2) * (2 * math.pi / 3)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif name == "rectangle":
        angle = math.pi / 4 * (0.5 + 0.5 * rng.random())
        half = np.array([math.cos(angle), math.sin(angle)])
        points = half * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    else:
        angles = np.arange(10) * (2 * math.pi / 10)
        inner = 0.36 + 0.1 * rng.random()
        radii = np.where(np.arange(10) % 2 == 0, 1.0, inner)
        points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    turn = 2 * math.pi * rng.random()
    cosine, sine = math.cos(turn), math.sin(turn)
    x = points[:, 0] * cosine - points[:, 1] * sine
    y = points[:, 0] * sine + points[:, 1] * cosine
    return np.round(np.stack([x, y], axis=1) * (radius * _SUBPIXEL)) / _SUBPIXEL


def outline_area(outline: np.ndarray) -> float:
    """Area enclosed by one simple polygon of (V, 2) vertices, in square pixels."""
    x, y = outline[:, 0], outline[:, 1]
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


def outline_keypoints(outline: np.ndarray) -> np.ndarray:
    """The centre and the topmost, rightmost, bottommost and leftmost vertex of an outline.

    Returns:
        (5, 2) float64 continuous coordinates in pixels, in the order of ``KEYPOINTS``.
    """
    low, high = outline.min(axis=0), outline.max(axis=0)
    vertices = [
        outline[outline[:, 1].argmin()],
        outline[outline[:, 0].argmax()],
        outline[outline[:, 1].argmax()],
        outline[outline[:, 0].argmin()],
    ]
    # For these shapes the mean of the vertices is the centre, except for a triangle's, where it
    # is the centroid; the middle of the extent would leave a star's body.
    return np.array([np.clip(outline.mean(axis=0), low, high), *vertices])
