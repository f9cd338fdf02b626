"""Backgrounds of the shapes pictures: materials under one light.

Pixel arithmetic keeps to sums, products and triangle waves, and noise comes from uniform draws and
Pillow's fixed-point resampling, so that platforms agree on the bytes.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from d2_data.datasets.shapes.distractors import strew_distractors

MATERIALS = ("smooth", "stripes", "speckle")
"""Names of the background materials, the stuff classes."""


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Noise that varies over about ``1 / cells`` of the longer side.

    Returns:
        (height, width) float32 within [0, 1].
    """
    longer = max(height, width)
    grid_height = max(2, math.ceil(cells * height / longer))
    grid_width = max(2, math.ceil(cells * width / longer))
    grid = (rng.random((grid_height, grid_width)) * 255).astype(np.uint8)
    picture = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as a (1, width) row of x and a (height, 1) column of y, float32 pixels."""
    x = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    return x, y


def random_direction(rng: np.random.Generator) -> tuple[float, float]:
    """A unit vector, rounded to 1/1024 so that platforms agree on it."""
    angle = 2 * math.pi * rng.random()
    return round(math.cos(angle) * 1024) / 1024, round(math.sin(angle) * 1024) / 1024


def random_slope(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A (height, width) float32 plane that rises in a random direction; 0 in the middle."""
    x, y = pixel_grid(height, width)
    dx, dy = random_direction(rng)
    half = np.float32(0.5)
    plane: np.ndarray = (x / width - half) * np.float32(dx) + (y / height - half) * np.float32(dy)
    return plane


def triangle_wave(phase: np.ndarray) -> np.ndarray:
    """A wave of period 1 that rises from 0 to 1 and falls back."""
    return np.abs((phase - np.floor(phase)) * 2 - 1)


def draw_background(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one or two materials with a wavy border, under one light, strewn with distractors.

    Returns:
        (height, width, 3) float32 RGB in grey levels, and the (height, width) uint8 index into
        ``MATERIALS`` of each pixel. Distractors do not change the material below them.
    """
    labels = _draw_regions(rng, height, width)
    canvas: np.ndarray = np.empty((height, width, 3), dtype=np.float32)
    for material in np.unique(labels).tolist():
        canvas = np.where(
            (labels == material)[:, :, None],
            _draw_material(rng, material, height, width),
            canvas,
        )
    slope = random_slope(rng, height, width)
    light = 1 + np.float32(0.25 * rng.random()) * slope
    light += np.float32(0.35) * (smooth_noise(rng, height, width, 3) - np.float32(0.5))
    canvas = canvas * light[:, :, None]
    return strew_distractors(rng, canvas), labels


def _draw_regions(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    first = int(rng.integers(len(MATERIALS)))
    labels = np.full((height, width), first, dtype=np.uint8)
    if rng.random() < 0.6:
        second = (first + 1 + int(rng.integers(len(MATERIALS) - 1))) % len(MATERIALS)
        side = random_slope(rng, height, width)
        offset = 0.5 * (rng.random() - 0.5)
        side = side + np.float32(0.3) * (smooth_noise(rng, height, width, 4) - np.float32(0.5))
        labels[side > np.float32(offset)] = second
    return labels


def _draw_material(rng: np.random.Generator, material: int, height: int, width: int) -> np.ndarray:
    base = (40 + 170 * rng.random(3)).astype(np.float32)
    other = np.clip(base + (rng.random(3) - 0.5) * 110, 0, 255).astype(np.float32)
    name = MATERIALS[material]
    if name == "smooth":
        mix = smooth_noise(rng, height, width, 5)
    elif name == "stripes":
        x, y = pixel_grid(height, width)
        dx, dy = random_direction(rng)
        period = max(height, width) * (0.05 + 0.1 * rng.random())
        phase = x * np.float32(dx / period) + y * np.float32(dy / period)
        phase = phase + np.float32(0.8) * smooth_noise(rng, height, width, 4)
        mix = triangle_wave(phase)
    else:
        mix = smooth_noise(rng, height, width, max(height, width) // 2)
    return base + (other - base) * mix[:, :, None]
