"""Decoding JPEG files by simplejpeg where it is installed.

It gives Pillow's pixels several times as fast: both are libjpeg-turbo underneath, with its accurate
transform and smooth upsampling. What it does not decode, Pillow does, whose errors say what is
wrong. torchvision's decoder, which would do as well, is deprecated since 0.29.
"""

from functools import cache
from types import ModuleType

import numpy as np

from d2_data.optional_imports import imported


@cache
def simplejpeg() -> ModuleType | None:
    """The library, or None where Pillow has to do without."""
    return imported("simplejpeg")


def decode_jpeg(
    content: bytes, format: str, at_least: tuple[int, int] | None = None
) -> np.ndarray | None:
    """The pixels of an ordinary JPEG file of three colours or grey, as it is stored.

    Args:
        content: of the file.
        format: "BGR" or "RGB".
        at_least: the smallest (height, width) that will do; the result is the next larger one that
            JPEG offers, an eighth of the full size or more. In full if None.

    Returns:
        (H, W, 3) uint8, contiguous and writable. None if Pillow has to do it.
    """
    library = simplejpeg()
    if library is None:
        return None
    height, width = at_least or (0, 0)
    try:
        # Strict, as it is by default: what it would mend in a file, Pillow is to judge.
        pixels: np.ndarray = library.decode_jpeg(
            content, colorspace=format, min_height=height, min_width=width
        )
    except (ValueError, RuntimeError):
        return None
    return pixels
