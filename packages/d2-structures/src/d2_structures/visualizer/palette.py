"""A fixed sequence of colours in which neighbours are as different as possible."""

import functools

import numpy as np

from .colors import Color

__all__ = ["PALETTE_SIZE", "palette_color"]

PALETTE_SIZE = 96

_OKLAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def palette_color(index: int) -> Color:
    """Colour number ``index`` of the palette, which repeats after ``PALETTE_SIZE``."""
    return _palette()[index % PALETTE_SIZE]


@functools.cache
def _palette() -> tuple[Color, ...]:
    """Choose each next colour farthest from all earlier ones in OKLab.

    Source: Ottosson, "A perceptual color space for image processing", 2020 (the matrices);
    Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985 (the choice).
    """
    lab = _candidates()
    chosen = [0]
    distances = np.linalg.norm(lab - lab[0], axis=1)
    while len(chosen) < PALETTE_SIZE:
        farthest = int(distances.argmax())
        chosen.append(farthest)
        distances = np.minimum(distances, np.linalg.norm(lab - lab[farthest], axis=1))
    return tuple(Color(*rgb) for rgb in _to_srgb(lab[chosen]).clip(0, 1).tolist())


def _candidates() -> np.ndarray:
    """(M, 3) OKLab colours: lively, neither near black nor near white, inside sRGB."""
    lightness, chroma, hue = np.meshgrid(
        np.linspace(0.58, 0.86, 5),
        np.linspace(0.12, 0.26, 6),
        np.radians(np.arange(250, 250 + 360, 6)),
        indexing="ij",
    )
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1).reshape(-1, 3)
    rgb = _to_srgb(lab)
    return lab[((rgb >= 0) & (rgb <= 1)).all(axis=1)]


def _to_srgb(lab: np.ndarray) -> np.ndarray:
    linear = (lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_LINEAR_RGB.T
    curve = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.where(np.abs(linear) <= 0.0031308, 12.92 * linear, np.sign(linear) * curve)
