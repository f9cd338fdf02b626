"""Cutting polygons at the edges of a window."""

from collections.abc import Callable, Sequence

import numpy as np


def moved_and_clipped(
    polygons: Sequence[np.ndarray],
    move: Callable[[np.ndarray], tuple[np.ndarray, tuple[int, int]]],
) -> list[np.ndarray]:
    """Move polygons, all of them at once, and cut them at the edges of the new image.

    Args:
        polygons: at least one, each (N, 2) points (x, y) in pixels.
        move: takes (M, 2) float64 points; returns where they come to lie, and the (height, width)
            in pixels of the image there.

    Returns:
        The parts inside the image, each (N, 2) points; see :func:`clip_polygon`.
    """
    points = [np.asarray(polygon, dtype=np.float64) for polygon in polygons]
    moved, (height, width) = move(np.concatenate(points))
    ends = np.cumsum([len(polygon) for polygon in points])[:-1]
    window = (0.0, 0.0, float(width), float(height))
    return [part for one in np.split(moved, ends) for part in clip_polygon(one, window)]


def clip_polygon(
    polygon: np.ndarray, window_xyxy: tuple[float, float, float, float]
) -> list[np.ndarray]:
    """The parts of a polygon inside an axis-aligned window.

    What counts as inside the polygon is decided by even-odd filling, as COCO's tools fill. Each
    vertex that comes back is a point of the polygon or lies where it crosses the window's border,
    so that the parts' bounding box is tight.

    Args:
        polygon: (N, 2) points (x, y), N >= 3, without repeating the first at the end.
        window_xyxy: (x0, y0, x1, y1).

    Returns:
        Polygons of (M, 2) points that do not overlap, the polygon itself where it is inside, none
        where nothing of positive area is. Of a polygon that crosses itself the parts that overlap
        become one, joined by edges that lead there and back: filled, they are what was inside.
    """
    points = np.asarray(polygon)
    x0, y0, x1, y1 = window_xyxy
    parts = [points]
    for axis, bound, sign in ((0, x0, 1), (1, y0, 1), (0, x1, -1), (1, y1, -1)):
        parts = [piece for part in parts for piece in _clip_half_plane(part, axis, bound, sign)]
    if len(parts) == 1:
        return parts
    joined = _join_overlapping(parts)
    return joined if len(joined) < len(parts) and _crosses_itself(points) else parts


def _clip_half_plane(points: np.ndarray, axis: int, bound: float, sign: int) -> list[np.ndarray]:
    """Keep the side where ``sign * (coordinate - bound) >= 0``, as closed polygons."""
    inside_by = sign * (points[:, axis] - bound)
    inside = inside_by >= 0
    if inside.all():
        return [points]
    following_inside = np.roll(inside, -1)
    leaving = np.flatnonzero(inside & ~following_inside)
    entering = np.flatnonzero(~inside & following_inside)
    if not len(entering):
        return []
    chains = _chains_inside(points, inside_by, entering, leaving, axis, bound)
    if len(chains) > 1:
        chains = _closed_along(chains, 1 - axis)
    cleaned = (_without_repeats(chain) for chain in chains)
    return [chain for chain in cleaned if len(chain) >= 3 and np.ptp(chain[:, axis]) > 0]


def _chains_inside(
    points: np.ndarray,
    inside_by: np.ndarray,
    entering: np.ndarray,
    leaving: np.ndarray,
    axis: int,
    bound: float,
) -> list[np.ndarray]:
    """Each stretch of the outline inside, from where it enters to where it leaves."""
    count = len(points)
    # Each entry is followed by its exit: the outline is walked from the first entry on.
    start = entering[0]
    exits = (np.sort((leaving - start) % count) + start).tolist()
    entries = (np.sort((entering - start) % count) + start).tolist()

    def crossing(edge: int) -> np.ndarray:
        here, there = edge % count, (edge + 1) % count
        share = inside_by[here] / (inside_by[here] - inside_by[there])
        point = points[here] + share * (points[there] - points[here])
        point[axis] = bound
        return point

    return [
        np.concatenate(
            [
                crossing(entry)[None],
                points[np.arange(entry + 1, leave + 1) % count],
                crossing(leave)[None],
            ]
        )
        for entry, leave in zip(entries, exits, strict=True)
    ]


def _closed_along(chains: list[np.ndarray], axis: int) -> list[np.ndarray]:
    """Chains joined to closed polygons by the stretches of the cut that are inside.

    Sorted along the cut, the first and second end enclose a stretch of the inside, the third and
    fourth another, and so on: that is even-odd filling on a line.
    """
    ends = np.array([place for chain in chains for place in (chain[0, axis], chain[-1, axis])])
    order = np.argsort(ends, kind="stable").tolist()
    partner = dict(zip(order[::2], order[1::2], strict=True))
    partner |= {second: first for first, second in partner.items()}
    closed, unused = [], set(range(len(chains)))
    while unused:
        # End 2 i is the beginning of chain i, end 2 i + 1 its end.
        first = end = 2 * min(unused)
        outline = []
        while True:
            chain = chains[end // 2]
            unused.discard(end // 2)
            outline.append(chain if end % 2 == 0 else chain[::-1])
            end = partner[end ^ 1]
            if end == first:
                break
        closed.append(np.concatenate(outline))
    return closed


def _without_repeats(points: np.ndarray) -> np.ndarray:
    """A polygon without points that equal the one before."""
    repeated = (points == np.roll(points, 1, axis=0)).all(axis=1)
    return points[~repeated] if repeated.any() else points


def _crosses_itself(points: np.ndarray) -> bool:
    """Whether two edges that are no neighbours cross or touch."""
    starts, ends = points, np.roll(points, -1, axis=0)

    def sides(origins: np.ndarray, tips: np.ndarray) -> np.ndarray:
        """(N, N): on which side of line i the point j lies."""
        direction = (ends - starts)[:, None]
        to_point = tips[None] - origins[:, None]
        cross = direction[..., 0] * to_point[..., 1] - direction[..., 1] * to_point[..., 0]
        return np.sign(cross)

    apart = sides(starts, starts) * sides(starts, ends) <= 0
    count = len(points)
    distance = np.abs(np.arange(count)[:, None] - np.arange(count)[None])
    neighbours = (distance <= 1) | (distance == count - 1)
    return bool((apart & apart.T & ~neighbours).any())


def _join_overlapping(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Polygons whose boxes overlap, directly or through others, as one each."""
    joined: list[np.ndarray] = []
    for part in parts:
        touched = [other for other in joined if _boxes_overlap(part, other)]
        joined = [other for other in joined if not _boxes_overlap(part, other)]
        for other in touched:
            # There along the edge between the first points, round, and back along it.
            part = np.concatenate([part, part[:1], other, other[:1]])
        joined.append(part)
    return joined


def _boxes_overlap(first: np.ndarray, second: np.ndarray) -> bool:
    low = np.maximum(first.min(axis=0), second.min(axis=0))
    high = np.minimum(first.max(axis=0), second.max(axis=0))
    return bool((low < high).all())
