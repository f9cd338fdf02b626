"""Text as cached coverage bitmaps."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .canvas import Patch
from .colors import Color
from .fonts import font_for

__all__ = ["Tag", "make_tag", "tag_patches"]


class Tag(NamedTuple):
    """A line or more of text on a small rounded plate; both maps have the same shape."""

    plate: NDArray[np.uint8]
    letters: NDArray[np.uint8]

    @property
    def height(self) -> int:
        return self.plate.shape[0]

    @property
    def width(self) -> int:
        return self.plate.shape[1]


def make_tag(text: str, font_size: int, rotation: float = 0.0) -> Tag:
    """Draw text in a size given in output pixels, turned by degrees counter-clockwise.

    The maps are shared between calls and must not be written to.
    """
    if rotation % 360 == 0:
        return _upright_tag(text, font_size)
    plate, letters = (
        np.asarray(Image.fromarray(part).rotate(rotation, Image.Resampling.BICUBIC, expand=True))
        for part in _upright_tag(text, font_size)
    )
    return Tag(plate, letters)


def tag_patches(
    tag: Tag,
    corner: tuple[int, int],
    text_color: Color,
    plate_color: Color,
    plate_alpha: float,
) -> list[Patch]:
    """What puts a tag on a canvas with its upper left corner at ``corner`` (x, y)."""
    return [
        Patch(*corner, tag.plate, plate_color, plate_alpha),
        Patch(*corner, tag.letters, text_color),
    ]


@functools.lru_cache(maxsize=4096)
def _upright_tag(text: str, font_size: int) -> Tag:
    font, text = font_for(text, font_size)
    ruler = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, _, right, bottom = ruler.textbbox((0, 0), text, font=font)
    line_height = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else 0
    pad = max(2, round(font_size * 0.3))
    width = max(math.ceil(right - left), 1) + 2 * pad
    height = max(math.ceil(bottom), line_height) + 2
    letters = Image.new("L", (width, height))
    ImageDraw.Draw(letters).text((pad - left, 0), text, fill=255, font=font)
    tag = Tag(_rounded_plate(width, height, max(2, font_size // 5)), np.array(letters))
    for part in tag:
        part.setflags(write=False)
    return tag


def _rounded_plate(width: int, height: int, radius: int) -> NDArray[np.uint8]:
    plate = np.full((height, width), 255, np.uint8)
    corner = _rounded_corner(radius)
    plate[:radius, :radius] = corner
    plate[:radius, -radius:] = corner[:, ::-1]
    plate[-radius:, :radius] = corner[::-1]
    plate[-radius:, -radius:] = corner[::-1, ::-1]
    return plate


@functools.lru_cache(maxsize=32)
def _rounded_corner(radius: int) -> NDArray[np.uint8]:
    """Coverage of the upper left quarter of a disc."""
    offsets = np.arange(radius) + 0.5 - radius
    distance = np.hypot(offsets[:, None], offsets)
    return np.rint((radius + 0.5 - distance).clip(0, 1) * 255).astype(np.uint8)
