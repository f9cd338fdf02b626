"""Decoding JPEG files by the fastest library there is.

The libraries give the same pixels: all are libjpeg-turbo underneath, with its accurate transform
and smooth upsampling. What they do not decode, Pillow does, whose errors say what is wrong.
"""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch

from d2_data.optional_imports import imported


class JpegDecoder(NamedTuple):
    """A library that decodes ordinary JPEG files faster than Pillow.

    Attributes:
        name: of the library.
        decode: takes the content of a file, "BGR" or "RGB", and the smallest (height, width) that
            will do, or None for the full size. Gives (H, W, 3) uint8, contiguous and writable;
            raises ValueError or RuntimeError for what it cannot decode.
    """

    name: str
    decode: Callable[[bytes, str, tuple[int, int] | None], np.ndarray]


@cache
def jpeg_decoder() -> JpegDecoder | None:
    """The fastest library that is installed; None if that is Pillow."""
    for name, decoder in (("simplejpeg", _simplejpeg), ("torchvision.io", _torchvision)):
        library = imported(name)
        if library is not None:
            return decoder(library)
    return None


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
    decoder = jpeg_decoder()
    if decoder is None:
        return None
    try:
        return decoder.decode(content, format, at_least)
    except (ValueError, RuntimeError):
        return None


def _simplejpeg(library: ModuleType) -> JpegDecoder:
    def decode(content: bytes, format: str, at_least: tuple[int, int] | None) -> np.ndarray:
        height, width = at_least or (0, 0)
        # Strict, as it is by default: what it would mend in a file, Pillow is to judge.
        pixels: np.ndarray = library.decode_jpeg(
            content, colorspace=format, min_height=height, min_width=width
        )
        return pixels

    return JpegDecoder("simplejpeg", decode)


def _torchvision(library: ModuleType) -> JpegDecoder:
    def decode(content: bytes, format: str, at_least: tuple[int, int] | None) -> np.ndarray:
        if at_least is not None:
            raise ValueError("torchvision decodes in full only")
        # bytearray: torch warns of memory that it may not write to.
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        planes = library.decode_jpeg(encoded, mode=library.ImageReadMode.RGB)
        if format == "BGR":
            planes = planes.flip(0)
        pixels: np.ndarray = planes.permute(1, 2, 0).contiguous().numpy()
        return pixels

    return JpegDecoder("torchvision", decode)
