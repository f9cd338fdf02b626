"""Colours by detectron2's functions: RGB or BGR, of range 255 or 1."""

import random
from typing import Any

import numpy as np

from d2_structures.visualizer import palette_color

_PALETTE = 96


def colormap(rgb: bool = False, maximum: int = 255) -> Any:
    """(N, 3) float32 colours that differ from each other.

    Args:
        rgb: the order of the parts; BGR otherwise.
        maximum: of a part, 255 or 1.
    """
    if maximum not in (1, 255):
        raise ValueError(f"maximum is 1 or 255, got {maximum}")
    colors = np.array([palette_color(i)[:3] for i in range(_PALETTE)], np.float32) * maximum
    return colors if rgb else colors[:, ::-1]


def random_color(rgb: bool = False, maximum: int = 255) -> Any:
    """A colour of :func:`colormap`, (3,), drawn from NumPy's global generator."""
    drawn = np.random.randint(_PALETTE)  # noqa: NPY002  # global seeding counts
    return colormap(rgb, maximum)[drawn]


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[Any]:
    """``N`` different colours, drawn from Python's generator."""
    return [colormap(rgb, maximum)[index] for index in random.sample(range(_PALETTE), N)]
