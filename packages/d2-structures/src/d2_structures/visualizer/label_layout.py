"""Where labels go: inside the picture, beside what they name, not over each other."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelLayout"]


class LabelLayout:
    """Places rectangles one after another, each clear of the earlier ones where possible."""

    def __init__(self, width: int, height: int) -> None:
        """Start with an empty picture of this size in pixels."""
        self._limits = np.array([width, height])
        self._taken = np.empty((16, 4), np.int64)
        self._count = 0

    def place_at_box(
        self, box_xyxy: tuple[float, float, float, float], size: tuple[int, int]
    ) -> tuple[int, int]:
        """Place a (width, height) label at a box, best at its upper left corner.

        Returns:
            (x, y) of the label's upper left corner, whole pixels, inside the picture as far as
            the label fits. Where every spot near the box is taken, the one that hides least.
        """
        x0, y0, x1, y1 = box_xyxy
        width, height = size
        corners = [
            (x0, y0 - height),  # on the box
            (x0, y0),  # in its upper left corner
            (x1 - width, y0 - height),
            (x1 - width, y0),
            (x0, y1),  # under the box
            (x0, y1 - height),
            (x1 - width, y1),
            (x1 - width, y1 - height),
            (x1, y0),  # beside it
            (x0 - width, y0),
        ]
        return self._place(corners, (x0, y0 - height), size)

    def place_at_point(self, centre: tuple[float, float], size: tuple[int, int]) -> tuple[int, int]:
        """Place a (width, height) label with its middle at a point, or as near as possible."""
        corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
        return self._place([corner], corner, size)

    def _place(
        self, wishes: list[tuple[float, float]], home: tuple[float, float], size: tuple[int, int]
    ) -> tuple[int, int]:
        candidates = self._inside(np.array(wishes), size)
        hidden = self._hidden_area(candidates, size)
        best = int(hidden.argmin())
        if hidden[best] > 0:
            start = self._inside(np.array([home]), size)
            candidates = np.concatenate([candidates, self._inside(start + _around(size), size)])
            best = int(self._hidden_area(candidates, size).argmin())
        x, y = candidates[best].tolist()
        self._take(x, y, size)
        return x, y

    def _inside(self, corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
        room = np.maximum(self._limits - size, 0)
        return np.minimum(np.maximum(np.rint(corners), 0), room).astype(np.int64)

    def _hidden_area(self, corners: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
        """(C,) pixels that a label at each corner shares with labels placed before."""
        taken = self._taken[: self._count]
        low = np.maximum(corners[:, None], taken[:, :2])
        shared = np.minimum(corners[:, None] + size, taken[:, 2:])
        shared -= low
        np.maximum(shared, 0, out=shared)
        return np.einsum("ct,ct->c", shared[..., 0], shared[..., 1])

    def _take(self, x: int, y: int, size: tuple[int, int]) -> None:
        if self._count == len(self._taken):
            self._taken = np.concatenate([self._taken, np.empty_like(self._taken)])
        self._taken[self._count] = (x, y, x + size[0], y + size[1])
        self._count += 1


def _around(size: tuple[int, int]) -> NDArray[np.float64]:
    """Offsets in whole and half steps of the label's size, shortest first."""
    steps_x, steps_y = np.meshgrid(np.arange(-4, 5) * 0.5, np.arange(-5, 6))
    offsets = np.stack([steps_x.ravel() * size[0], steps_y.ravel() * size[1]], axis=1)
    return offsets[np.argsort(np.hypot(offsets[:, 0], 2 * offsets[:, 1]), kind="stable")]
