"""Choosing a rotation or a region that may reach beyond the image."""

from collections.abc import Sequence

import numpy as np

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.resize_transforms import ExtentTransform
from d2_data.transforms.rotation_transform import RotationTransform
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["RandomExtent", "RandomRotation"]


class RandomExtent(Augmentation):
    """Take a randomly scaled and shifted region, black where it leaves the image.

    The result has the size of the region. Draws the scale, the shift in x, the shift
    in y.

    Args:
        scale_range: (low, high) of the region's size relative to the image's.
        shift_range: (x, y); the region's centre is moved by up to half of x times the
            image's width and half of y times its height, either way.
    """

    def __init__(self, scale_range: tuple[float, float], shift_range: tuple[float, float]) -> None:
        self.scale_range = scale_range
        self.shift_range = shift_range

    def get_transform(self, image: np.ndarray) -> Transform:
        """The extraction of a drawn region."""
        h, w = image.shape[:2]
        half = np.array([w, h]) / 2
        extent = half * np.random.uniform(*self.scale_range)
        shift_x = self.shift_range[0] * w * (np.random.rand() - 0.5)
        shift_y = self.shift_range[1] * h * (np.random.rand() - 0.5)
        centre = half + np.array([shift_x, shift_y])
        src_rect = np.concatenate([centre - extent, centre + extent])
        output_size = (int(src_rect[3] - src_rect[1]), int(src_rect[2] - src_rect[0]))
        return ExtentTransform(src_rect=src_rect, output_size=output_size)


class RandomRotation(Augmentation):
    """Rotate by a random angle, counter-clockwise.

    Draws the angle, then, where ``center`` is given, the centre.

    Args:
        angle: [min, max] in degrees with "range", the angles to choose from with
            "choice"; or one number.
        expand: enlarge the result to hold the whole rotated image.
        center: with "range" the corners [[min x, min y], [max x, max y]] of the region
            that the centre is drawn from, with "choice" a list of centres; relative to
            the image's size, (0, 0) at the top left and (1, 1) at the bottom right. The
            middle of the image when None. Has no effect with ``expand``.
        sample_style: "range" or "choice".
        interp: as in :class:`RotationTransform`.
    """

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence[Sequence[float]] | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        if sample_style not in ("range", "choice"):
            raise ValueError(
                f"RandomRotation: sample_style is 'range' or 'choice', got {sample_style!r}"
            )
        self.angle = (angle, angle) if isinstance(angle, int | float) else angle
        if sample_style == "range" and len(self.angle) != 2:
            raise ValueError(
                f"RandomRotation: angle must be [min, max] for sample_style='range', got {angle!r}"
            )
        self.expand = expand
        self.center = center
        self.sample_style = sample_style
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The rotation by a drawn angle about a drawn centre."""
        h, w = image.shape[:2]
        angle, center = self._draw()
        if angle % 360 == 0:
            return NoOpTransform()
        if center is not None:
            center = (w * center[0], h * center[1])
        return RotationTransform(h, w, angle, self.expand, center, self.interp)

    def _draw(self) -> tuple[float, tuple[float, float] | None]:
        if self.sample_style == "range":
            angle = float(np.random.uniform(self.angle[0], self.angle[1]))
            if self.center is None:
                return angle, None
            (min_x, min_y), (max_x, max_y) = self.center
            return angle, (np.random.uniform(min_x, max_x), np.random.uniform(min_y, max_y))
        angle = float(np.random.choice(self.angle))
        if self.center is None:
            return angle, None
        x, y = self.center[np.random.choice(len(self.center))]
        return angle, (x, y)
