"""Cropping and padding."""

from collections.abc import Sequence

import numpy as np

from d2_data.transforms.polygon_clipping import clip_polygon
from d2_data.transforms.transform import Transform

__all__ = ["CropTransform", "PadTransform"]


class CropTransform(Transform):
    """Cut a window out of an image.

    Args:
        x0, y0, w, h: the window in pixels; the image becomes ``img[y0:y0+h, x0:x0+w]``.
        orig_w, orig_h: size of the image before, in pixels; only :meth:`inverse` needs it.
    """

    def __init__(
        self,
        x0: int,
        y0: int,
        w: int,
        h: int,
        orig_w: int | None = None,
        orig_h: int | None = None,
    ) -> None:
        self.x0, self.y0, self.w, self.h = x0, y0, w, h
        self.orig_w, self.orig_h = orig_w, orig_h

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The window as a view of (H, W), (H, W, C) or (N, H, W, C)."""
        rows, columns = slice(self.y0, self.y0 + self.h), slice(self.x0, self.x0 + self.w)
        return img[rows, columns] if img.ndim <= 3 else img[..., rows, columns, :]

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move the origin to the window's corner; points outside stay outside."""
        return np.asarray(coords) - np.asarray([self.x0, self.y0], dtype=np.asarray(coords).dtype)

    def apply_polygons(self, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Cut polygons at the window's edges.

        One that falls apart becomes several, one that is left outside disappears.
        """
        window = (self.x0, self.y0, self.x0 + self.w, self.y0 + self.h)
        return [
            self.apply_coords(part)
            for polygon in polygons
            for part in clip_polygon(np.asarray(polygon, dtype=np.float64), window)
        ]

    def inverse(self) -> "PadTransform":
        """To pad back to the size before; the pixels cut off become zero."""
        if self.orig_w is None or self.orig_h is None:
            raise ValueError(
                "a CropTransform is inverted only with the size of the image before: construct "
                "it with orig_w and orig_h"
            )
        return PadTransform(
            self.x0,
            self.y0,
            self.orig_w - self.x0 - self.w,
            self.orig_h - self.y0 - self.h,
            orig_w=self.w,
            orig_h=self.h,
        )


class PadTransform(Transform):
    """Add a border of one value.

    Args:
        x0, y0: pixels added on the left and on the top.
        x1, y1: pixels added on the right and on the bottom.
        orig_w, orig_h: size of the image before, in pixels; only :meth:`inverse` needs it.
        pad_value: of the border in images.
        seg_pad_value: of the border in segmentations.
    """

    def __init__(
        self,
        x0: int,
        y0: int,
        x1: int,
        y1: int,
        orig_w: int | None = None,
        orig_h: int | None = None,
        pad_value: float = 0,
        seg_pad_value: int = 0,
    ) -> None:
        self.x0, self.y0, self.x1, self.y1 = x0, y0, x1, y1
        self.orig_w, self.orig_h = orig_w, orig_h
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The image with its border of ``pad_value``."""
        return self._pad(img, self.pad_value)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The segmentation with its border of ``seg_pad_value``."""
        return self._pad(segmentation, self.seg_pad_value)

    def _pad(self, array: np.ndarray, value: float) -> np.ndarray:
        border = [(self.y0, self.y1), (self.x0, self.x1)]
        leading = [(0, 0)] * (array.ndim - 3)
        channels = [(0, 0)] if array.ndim >= 3 else []
        return np.pad(array, [*leading, *border, *channels], constant_values=value)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move the origin to the border's corner."""
        return np.asarray(coords) + np.asarray([self.x0, self.y0], dtype=np.asarray(coords).dtype)

    def inverse(self) -> CropTransform:
        """To cut the border off."""
        if self.orig_w is None or self.orig_h is None:
            raise ValueError(
                "a PadTransform is inverted only with the size of the image before: construct "
                "it with orig_w and orig_h"
            )
        return CropTransform(
            self.x0,
            self.y0,
            self.orig_w,
            self.orig_h,
            orig_w=self.orig_w + self.x0 + self.x1,
            orig_h=self.orig_h + self.y0 + self.y1,
        )
