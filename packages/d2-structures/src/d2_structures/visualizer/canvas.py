"""The pixels under a picture and the few ways in which everything else changes them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2_ops import overlay

from .colors import Color

__all__ = ["Canvas", "Frame", "Patch", "Rect", "Stroke"]

_LUMA = (77, 150, 29)  # Rec. 601 weights in 256ths
_INVISIBLE = Color(0.0, 0.0, 0.0, 0.0)


class Rect(NamedTuple):
    """A rectangle of whole pixels: columns ``x0 <= x < x1``, rows ``y0 <= y < y1``."""

    x0: int
    y0: int
    x1: int
    y1: int


class Patch(NamedTuple):
    """A colour laid on through an (h, w) coverage map with its corner at (x0, y0)."""

    x0: int
    y0: int
    coverage: NDArray[np.uint8]
    """0 leaves a pixel alone, 255 gives it the colour at full ``alpha``."""
    color: Color
    alpha: float = 1.0
    edge: Color = _INVISIBLE
    """Laid on where about half of a pixel is covered."""


class Frame(NamedTuple):
    """The outline of a rectangle, ``line_width`` whole pixels inwards from its border."""

    rect: Rect
    line_width: int
    color: Color
    alpha: float


class Stroke(NamedTuple):
    """Anti-aliased segments with round ends and joins, laid on once where they overlap."""

    segments: NDArray[np.float64]
    """(S, 4) x0, y0, x1, y1."""
    line_width: float
    color: Color
    alpha: float = 1.0


class Canvas:
    """An RGB image kept as three planes, on which colours are blended in integers.

    Later things are drawn over earlier ones. What lies outside the image is left out.
    Coordinates are pixels of this canvas.
    """

    def __init__(self, image_rgb: NDArray[np.uint8]) -> None:
        """Copy an (H, W, 3) uint8 image."""
        self.height, self.width = image_rgb.shape[:2]
        self._planes = np.empty((3, self.height, self.width), np.uint8)
        for channel, plane in enumerate(self._planes):
            plane[...] = image_rgb[..., channel]

    def to_image(self) -> NDArray[np.uint8]:
        """A new (H, W, 3) uint8 RGB array of the present state."""
        image = np.empty((self.height, self.width, 3), np.uint8)
        for channel, plane in enumerate(self._planes):
            image[..., channel] = plane
        return image

    def lay(self, patches: Sequence[Patch]) -> None:
        """Blend colours through coverage maps."""
        if patches:
            overlay.blend_maps(
                self._planes,
                [patch.coverage for patch in patches],
                [(patch.x0, patch.y0) for patch in patches],
                [_ink(patch.color, patch.alpha) for patch in patches],
                [_ink(patch.edge, 1.0) for patch in patches],
            )

    def frame(self, frames: Sequence[Frame]) -> None:
        """Draw outlines of rectangles; one without room inside is filled."""
        strips, inks = [], []
        for rect, line_width, color, alpha in frames:
            sides = _sides(rect, line_width)
            strips += sides
            inks += [_ink(color, alpha)] * len(sides)
        if strips:
            overlay.fill_rectangles(self._planes, strips, inks)

    def stroke(self, strokes: Sequence[Stroke]) -> None:
        """Draw lines."""
        if strokes:
            overlay.stroke_paths(
                self._planes,
                [stroke.segments for stroke in strokes],
                [stroke.line_width for stroke in strokes],
                [_ink(stroke.color, stroke.alpha) for stroke in strokes],
            )

    def desaturate(self, where: NDArray[np.bool_]) -> None:
        """Turn the pixels of an (H, W) bool map into shades of grey."""
        grey = np.zeros((self.height, self.width), np.uint16)
        for plane, part in zip(self._planes, _LUMA, strict=True):
            grey += plane * np.uint16(part)
        np.copyto(self._planes, (grey >> 8).astype(np.uint8), where=where)

    def to_pillow(self) -> Image.Image:
        """The present state as a Pillow image."""
        return Image.fromarray(self.to_image())


def _ink(color: Color, alpha: float) -> tuple[int, int, int, int]:
    opacity = min(max(alpha, 0.0), 1.0) * color.opacity
    return (*color.to_bytes(), round(opacity * overlay.OPAQUE))


def _sides(rect: Rect, line_width: int) -> list[Rect]:
    """The parts of a rectangle within ``line_width`` of its border, without overlap."""
    x0, y0, x1, y1 = rect
    if x1 - x0 <= 2 * line_width or y1 - y0 <= 2 * line_width:
        return [rect]
    top, bottom = y0 + line_width, y1 - line_width
    return [
        Rect(x0, y0, x1, top),
        Rect(x0, bottom, x1, y1),
        Rect(x0, top, x0 + line_width, bottom),
        Rect(x1 - line_width, top, x1, bottom),
    ]
