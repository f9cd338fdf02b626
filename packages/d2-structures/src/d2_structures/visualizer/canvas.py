"""The pixels under a picture and the few ways in which everything else changes them."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colors import Color
from .strokes import stroke_coverage

__all__ = ["Canvas", "Rect"]

_OPAQUE = 256
_LUMA = (77, 150, 29)  # Rec. 601 weights in 256ths


class Rect(NamedTuple):
    """A rectangle of whole pixels: columns ``x0 <= x < x1``, rows ``y0 <= y < y1``."""

    x0: int
    y0: int
    x1: int
    y1: int

    def clipped(self, height: int, width: int) -> "Rect":
        """The part inside an image of this size; empty ones have equal corners."""
        x0, y0 = min(max(self.x0, 0), width), min(max(self.y0, 0), height)
        return Rect(x0, y0, max(x0, min(self.x1, width)), max(y0, min(self.y1, height)))


class Canvas:
    """An RGB image kept as three planes, which blends coverage maps in integers.

    Coverage is uint8: 0 leaves a pixel alone, 255 gives it the colour at full ``alpha``.
    Every method ignores what lies outside the image. Coordinates are pixels of this canvas.
    """

    def __init__(self, image_rgb: NDArray[np.uint8]) -> None:
        """Copy an (H, W, 3) uint8 image."""
        self.height, self.width = image_rgb.shape[:2]
        self._planes = np.ascontiguousarray(image_rgb.transpose(2, 0, 1))
        self._scratch: NDArray[np.uint8] | None = None

    def to_image(self) -> NDArray[np.uint8]:
        """A new (H, W, 3) uint8 RGB array of the present state."""
        image = np.empty((self.height, self.width, 3), np.uint8)
        for channel, plane in enumerate(self._planes):
            image[..., channel] = plane
        return image

    def fill(self, rect: Rect, color: Color, alpha: float) -> None:
        """Blend one colour evenly over a rectangle."""
        self._fill_each((rect,), color, alpha)

    def blend(
        self, x0: int, y0: int, coverage: NDArray[np.uint8], color: Color, alpha: float = 1.0
    ) -> None:
        """Blend a colour through an (h, w) coverage map whose corner is at (x0, y0)."""
        weight = _weight(color, alpha)
        place = self._overlap(x0, y0, coverage.shape)
        if weight and place:
            region, part = self._planes[place[0]], coverage[place[1]]
            region[...] = _mix(region, _pixel_weights(part, weight), color, (3, 1, 1))

    def blend_two(
        self,
        corner: tuple[int, int],
        lower: tuple[NDArray[np.uint8], Color, float],
        upper: tuple[NDArray[np.uint8], Color],
    ) -> None:
        """Blend two coverage maps of one shape in a single pass over the pixels.

        The same as blending ``lower`` (coverage, colour, alpha) and then ``upper`` (coverage,
        colour) with their corners at ``corner`` (x, y), up to rounding.
        """
        place = self._overlap(*corner, lower[0].shape)
        if not place:
            return
        region, part = self._planes[place[0]], place[1]
        above = _pixel_weights(upper[0][part], _weight(upper[1], 1.0))
        below = _pixel_weights(lower[0][part], _weight(lower[1], lower[2]))
        shown = np.multiply(below, _OPAQUE - above, dtype=np.uint32)
        shown += np.uint32(128)
        below = (shown >> np.uint32(8)).astype(np.uint16)
        mixed = region * (np.uint16(_OPAQUE) - above - below)
        mixed += lower[1].to_bytes().reshape(3, 1, 1) * below
        mixed += upper[1].to_bytes().reshape(3, 1, 1) * above
        mixed += np.uint16(128)
        mixed >>= 8
        region[...] = mixed

    def stroke(
        self,
        segments: NDArray[np.float64],
        line_width: float,
        color: Color,
        alpha: float = 1.0,
    ) -> None:
        """Draw anti-aliased segments, (S, 4) of x0, y0, x1, y1, with round ends and joins.

        Where segments overlap the colour is laid on once.
        """
        weight = _weight(color, alpha)
        pixels, coverage = stroke_coverage(segments, line_width, self.height, self.width)
        if not weight or not pixels.size:
            return
        if self._scratch is None:
            self._scratch = np.zeros(self.height * self.width, np.uint8)
        np.maximum.at(self._scratch, pixels, coverage)
        weights = _pixel_weights(self._scratch[pixels], weight)
        self._scratch[pixels] = 0
        flat = self._planes.reshape(3, -1)
        flat[:, pixels] = _mix(flat.take(pixels, axis=1), weights, color, (3, 1))

    def frame(self, rect: Rect, line_width: int, color: Color, alpha: float) -> None:
        """Draw the outline of a rectangle, ``line_width`` pixels inwards from its border."""
        x0, y0, x1, y1 = rect
        if x1 - x0 <= 2 * line_width or y1 - y0 <= 2 * line_width:
            self.fill(rect, color, alpha)
            return
        inner = Rect(x0 + line_width, y0 + line_width, x1 - line_width, y1 - line_width)
        strips = (
            Rect(x0, y0, x1, inner.y0),
            Rect(x0, inner.y1, x1, y1),
            Rect(x0, inner.y0, inner.x0, inner.y1),
            Rect(inner.x1, inner.y0, x1, inner.y1),
        )
        self._fill_each(strips, color, alpha)

    def _fill_each(self, rects: Iterable[Rect], color: Color, alpha: float) -> None:
        """Blend one colour over rectangles that do not overlap."""
        weight = _weight(color, alpha)
        kept = np.uint16(_OPAQUE - weight)
        added = (color.to_bytes() * np.uint16(weight) + np.uint16(128)).reshape(3, 1, 1)
        for rect in rects:
            x0, y0, x1, y1 = rect.clipped(self.height, self.width)
            region = self._planes[:, y0:y1, x0:x1]
            mixed = region * kept
            mixed += added
            mixed >>= 8
            region[...] = mixed

    def desaturate(self, where: NDArray[np.bool_]) -> None:
        """Turn the pixels of an (H, W) bool map into shades of grey."""
        grey = sum(
            plane.astype(np.uint16) * np.uint16(part)
            for plane, part in zip(self._planes, _LUMA, strict=True)
        )
        np.copyto(self._planes, (grey >> 8).astype(np.uint8), where=where)

    def _overlap(
        self, x0: int, y0: int, shape: tuple[int, ...]
    ) -> tuple[tuple[slice, slice, slice], tuple[slice, slice]] | None:
        """Where a map at (x0, y0) meets the canvas: in the planes and in the map."""
        left, top, right, bottom = Rect(x0, y0, x0 + shape[1], y0 + shape[0]).clipped(
            self.height, self.width
        )
        if left >= right or top >= bottom:
            return None
        in_map = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
        return (slice(None), slice(top, bottom), slice(left, right)), in_map

    def to_pillow(self) -> Image.Image:
        """The present state as a Pillow image."""
        return Image.fromarray(self.to_image())


def _weight(color: Color, alpha: float) -> int:
    """Opacity in 256ths."""
    return round(min(max(alpha, 0.0), 1.0) * color.opacity * _OPAQUE)


def _pixel_weights(coverage: NDArray[np.uint8], weight: int) -> NDArray[np.uint16]:
    """Coverage 0..255 times a weight in 256ths, in 256ths; full coverage gives ``weight``."""
    if weight == _OPAQUE:
        weights = coverage.astype(np.uint16)
        weights += coverage >> np.uint8(7)  # 255 becomes 256
        return weights
    weights = coverage * np.uint16(min(round(weight * 257 / 256), _OPAQUE))
    weights += np.uint16(128)
    weights >>= 8
    return weights


def _mix(
    pixels: NDArray[np.uint8],
    weights: NDArray[np.uint16],
    color: Color,
    channel_shape: tuple[int, ...],
) -> NDArray[np.uint16]:
    """``pixels + (color - pixels) * weights / 256``, rounded; the sum stays below 2**16."""
    mixed = pixels * (np.uint16(_OPAQUE) - weights)
    mixed += color.to_bytes().reshape(channel_shape) * weights
    mixed += np.uint16(128)
    mixed >>= 8
    return mixed
