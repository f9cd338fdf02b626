"""Polygons around the pixels of a mask."""

import numpy as np

__all__ = ["mask_polygons"]

Corner = tuple[int, int]


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
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    inside = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return [
        [coordinate for x, y in loop for coordinate in (x, y + top)]
        for loop in _outer_loops(inside, left)
    ]


def _outer_loops(mask: np.ndarray, x_offset: int) -> list[list[Corner]]:
    loops = _boundary_loops(mask)
    for loop in loops:
        if _signed_area(loop) < 0:  # a hole: cut through its middle and trace both sides
            columns = [x for x, _ in loop]
            cut = (min(columns) + max(columns) + 1) // 2
            return _outer_loops(mask[:, :cut], x_offset) + _outer_loops(
                mask[:, cut:], x_offset + cut
            )
    return [[(x + x_offset, y) for x, y in loop] for loop in loops]


def _boundary_loops(mask: np.ndarray) -> list[list[Corner]]:
    """Closed loops of corners, the mask to the right of the direction of travel (y downwards)."""
    successors = _boundary_edges(mask)
    loops = []
    while successors:
        start = next(iter(successors))
        loop: list[Corner] = []
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


def _boundary_edges(mask: np.ndarray) -> dict[Corner, list[Corner]]:
    """Unit edges between mask and no mask: from each corner to the one or two that follow it."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.int8)
    padded[1:-1, 1:-1] = mask
    successors: dict[Corner, list[Corner]] = {}
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


def _signed_area(loop: list[Corner]) -> int:
    """Twice the enclosed area; negative for a loop around a hole."""
    following = loop[1:] + loop[:1]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, following, strict=True))
