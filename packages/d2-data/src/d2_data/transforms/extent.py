"""Regions that may reach beyond the image, and choosing one."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from d2_data.transforms.augmentation import Augmentation, decides_by_shape
from d2_data.transforms.resampling import BILINEAR, NEAREST, by_channel, pillow_plane
from d2_data.transforms.resize import scale_points
from d2_data.transforms.transform import Transform

__all__ = ["ExtentTransform", "RandomExtent"]


class ExtentTransform(Transform):
    """Scale a region of an image, which may reach beyond it, to a given size.

    Args:
        src_rect: the region (x0, y0, x1, y1) in pixels.
        output_size: (h, w) in pixels.
        interp: Pillow resampling method (no antialiasing when the region is shrunk).
        fill: colour of what lies outside the image.
        input_size: (h, w) of the image before, in pixels; only :meth:`inverse` needs it.
    """

    def __init__(
        self,
        src_rect: Sequence[float] | np.ndarray,
        output_size: tuple[int, int],
        interp: int = BILINEAR,
        fill: int = 0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        self.src_rect = src_rect
        self.output_size = output_size
        self.interp = interp
        self.fill = fill
        self.input_size = input_size

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """The region of a uint8 or float (H, W) or (H, W, C), by ``interp`` when given."""
        h, w = self.output_size
        method = Image.Resampling(self.interp if interp is None else interp)

        def extract(channel: np.ndarray) -> np.ndarray:
            extracted = Image.fromarray(pillow_plane(channel)).transform(
                (w, h),
                Image.Transform.EXTENT,
                tuple(float(v) for v in self.src_rect),
                resample=method,
                fillcolor=self.fill,
            )
            return np.asarray(extracted).astype(channel.dtype, copy=False)

        return by_channel(img, extract)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points relative to the region, scaled to the output's size."""
        points = np.asarray(coords)
        if not np.issubdtype(points.dtype, np.floating):
            points = points.astype(np.float64)
        origin = np.asarray(self.src_rect[:2], dtype=points.dtype)
        return scale_points(points - origin, *self._scales())

    def _scales(self) -> tuple[float, float]:
        """Output pixels per pixel of the region, in x and in y."""
        h, w = self.output_size
        x0, y0, x1, y1 = (float(v) for v in self.src_rect)
        return w / (x1 - x0), h / (y1 - y0)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Extract by nearest neighbour."""
        return self.apply_image(segmentation, interp=NEAREST)

    def inverse(self) -> "ExtentTransform":
        """To bring the region back to its place; what it left out becomes ``fill``.

        Raises:
            ValueError: if the transform was made without ``input_size``.
        """
        if self.input_size is None:
            raise ValueError(
                "an ExtentTransform is inverted only with the size of the image before: construct "
                "it with input_size=(height, width)"
            )
        h, w = self.input_size
        scale_x, scale_y = self._scales()
        x0, y0 = (float(v) for v in self.src_rect[:2])
        return ExtentTransform(
            (-x0 * scale_x, -y0 * scale_y, (w - x0) * scale_x, (h - y0) * scale_y),
            self.input_size,
            self.interp,
            self.fill,
            input_size=self.output_size,
        )


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

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> Transform:
        """The extraction of a drawn region."""
        h, w = image.shape[:2]
        half = np.array([w, h]) / 2
        extent = half * np.random.uniform(*self.scale_range)
        shift_x = self.shift_range[0] * w * (np.random.rand() - 0.5)
        shift_y = self.shift_range[1] * h * (np.random.rand() - 0.5)
        centre = half + np.array([shift_x, shift_y])
        src_rect = np.concatenate([centre - extent, centre + extent])
        new_w, new_h = (max(int(side), 1) for side in src_rect[2:] - src_rect[:2])
        return ExtentTransform(src_rect=src_rect, output_size=(new_h, new_w), input_size=(h, w))
