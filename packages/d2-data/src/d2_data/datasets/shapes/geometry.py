"""Outlines of the four shapes, and polygons around the pixels of a mask."""

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


def mask_polygons(mask: np.ndarray) -> list[list[int]]:
    """Trace polygons along the pixel edges of a mask.

    Rasterised by COCO's rule and united, the polygons give back exactly the mask. Pixels that
    touch only at a corner fall into different polygons. A polygon cannot have a hole: a part with
    one is cut vertically through it.

    Args:
        mask: (H, W) bool.

    Returns:
        Per part the flat list x0, y0, x1, y1, … of its corners in integer continuous coordinates.
        An empty mask gives an empty list.
    """
    return [
        [coordinate for corner in loop for coordinate in corner] for loop in _outer_loops(mask, 0)
    ]


def _outer_loops(mask: np.ndarray, x_offset: int) -> list[list[tuple[int, int]]]:
    loops = _boundary_loops(mask)
    for loop in loops:
        if _signed_area(loop) < 0:  # a hole: cut through its middle and trace both sides
            columns = [x for x, _ in loop]
            cut = (min(columns) + max(columns) + 1) // 2
            return _outer_loops(mask[:, :cut], x_offset) + _outer_loops(
                mask[:, cut:], x_offset + cut
            )
    return [[(x + x_offset, y) for x, y in loop] for loop in loops]


def _boundary_loops(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Closed loops of corners, the mask to the right of the direction of travel (y downwards)."""
    successors = _boundary_edges(mask)
    loops = []
    while successors:
        start = next(iter(successors))
        loop: list[tuple[int, int]] = []
        point, direction = start, (0, 0)
        while True:
            ends = successors[point]
            end = ends[0]
            if len(ends) == 2:
                right_turn = (point[0] - direction[1], point[1] + direction[0])
                end = right_turn if right_turn in ends else ends[0]
                ends.remove(end)
            else:
                del successors[point]
            step = (end[0] - point[0], end[1] - point[1])
            if step != direction:
                loop.append(point)
            point, direction = end, step
            if point == start:
                break
        first_step = (loop[1][0] - loop[0][0], loop[1][1] - loop[0][1])
        if (first_step[0] == 0) == (direction[0] == 0):  # the start lies within a straight edge
            loop.pop(0)
        loops.append(loop)
    return loops


def _boundary_edges(mask: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Unit edges between mask and no mask: from each corner to the one or two that follow it."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.int8)
    padded[1:-1, 1:-1] = mask
    successors: dict[tuple[int, int], list[tuple[int, int]]] = {}
    rows = padded[1:, 1:-1] - padded[:-1, 1:-1]
    columns = padded[1:-1, 1:] - padded[1:-1, :-1]
    for change, sides in (
        (rows == 1, ((0, 0), (1, 0))),
        (rows == -1, ((1, 0), (0, 0))),
        (columns == 1, ((0, 1), (0, 0))),
        (columns == -1, ((0, 0), (0, 1))),
    ):
        (from_x, from_y), (to_x, to_y) = sides
        ys, xs = np.nonzero(change)
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            successors.setdefault((x + from_x, y + from_y), []).append((x + to_x, y + to_y))
    return successors


def _signed_area(loop: list[tuple[int, int]]) -> int:
    """Twice the enclosed area; negative for a loop around a hole."""
    following = loop[1:] + loop[:1]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, following, strict=True))
