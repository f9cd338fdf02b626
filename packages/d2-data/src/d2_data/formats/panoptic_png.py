"""Panoptic label maps as COCO's colour PNGs: id = red + 256 green + 256² blue."""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image

from d2_structures import open_picture

__all__ = ["decode_panoptic_png", "encode_panoptic_png", "panoptic_colors"]

_ID_LIMIT = 256**3


def panoptic_colors(ids: np.ndarray) -> np.ndarray:
    """The colours that stand for ids.

    Args:
        ids: (H, W) int within 0 … 256³ − 1.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: if an id is out of range.
    """
    if ids.size and (ids.min() < 0 or ids.max() >= _ID_LIMIT):
        raise ValueError(
            f"segment ids are within 0 … {_ID_LIMIT - 1}, got {ids.min()}, {ids.max()}"
        )
    return np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)


def encode_panoptic_png(ids: np.ndarray) -> bytes:
    """Write a map of ids as a PNG file; see :func:`panoptic_colors`."""
    file = io.BytesIO()
    Image.fromarray(panoptic_colors(ids)).save(file, format="PNG")
    return file.getvalue()


def decode_panoptic_png(file: str | os.PathLike[str] | bytes) -> np.ndarray:
    """Read a map of ids: (H, W) int32.

    Args:
        file: a path, or the file's content.

    Raises:
        OSError: if it is no PNG, see :func:`d2_structures.open_picture`, or damaged; names it.
    """
    if isinstance(file, bytes):
        name = "panoptic labels in memory"
        picture = open_picture(name, io.BytesIO(file), formats=("PNG",))
    else:
        name = os.fspath(file)
        picture = open_picture(name, formats=("PNG",))
    with picture as image:
        try:
            colours = np.asarray(image.convert("RGB"), dtype=np.int32)
        except Exception as error:  # a decoder fails in any way on strange content
            raise OSError(
                f"{name!r} cannot be decoded ({error}); it is damaged or cut short: fetch or make "
                "it again"
            ) from error
    ids: np.ndarray = colours @ np.array([1, 256, 256**2], np.int32)
    return ids
