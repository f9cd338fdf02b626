"""One shapes picture: what is in it, how it looks, and what can be seen of each object."""

from __future__ import annotations

import math

import attrs
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from d2_data.datasets.shapes.background import (
    draw_background,
    pixel_grid,
    random_direction,
    random_slope,
    smooth_noise,
    triangle_wave,
)
from d2_data.datasets.shapes.geometry import (
    CLASSES,
    draw_outline,
    outline_area,
    outline_keypoints,
)

_SUPERSAMPLING = 4
_MIN_VISIBLE_FRACTION = 0.45
_MIN_VISIBLE_PIXELS = 30
_MIN_CONTRAST = 90.0
"""Smallest Euclidean distance in RGB between an object's colour and what it is drawn upon."""


@attrs.frozen
class SceneRecipe:
    """What every picture of one dataset has in common.

    Attributes:
        image_size: (height, width) in pixels, each at least 32.
        objects_per_image: least and most objects that are placed, both at least 1. Objects of
            which too little would be seen are left out of the picture.
        object_size: least and most diameter of an object relative to the shorter image side.
    """

    image_size: tuple[int, int]
    objects_per_image: tuple[int, int] = (2, 6)
    object_size: tuple[float, float] = (0.18, 0.6)

    def __attrs_post_init__(self) -> None:
        for name, pair in attrs.asdict(self).items():
            if len(pair) != 2:
                raise ValueError(f"{name} is a pair, got {pair}")
        if min(self.image_size) < 32:
            raise ValueError(
                f"image_size is (height, width) of at least 32 pixels each, got {self.image_size}"
            )
        least, most = self.objects_per_image
        if not 1 <= least <= most:
            raise ValueError(
                f"objects_per_image is (least, most) with 1 <= least <= most, got {(least, most)}"
            )
        small, large = self.object_size
        if not 0.05 <= small <= large <= 1:
            raise ValueError(
                "object_size is (least, most) with 0.05 <= least <= most <= 1, "
                f"got {(small, large)}"
            )


@attrs.frozen(eq=False)
class SceneObject:
    """One object as it is seen.

    Attributes:
        class_id: index into ``CLASSES``.
        mask: (H, W) bool, the visible pixels: covered at least half, and by no later object.
        keypoints: (5, 3) float64 rows of continuous x, y in pixels and COCO visibility: 2 seen,
            1 covered by another object, 0 outside the picture (x and y are then 0).
    """

    class_id: int
    mask: np.ndarray
    keypoints: np.ndarray


@attrs.frozen(eq=False)
class Scene:
    """A picture and the truth about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        materials: (H, W) uint8 index into ``MATERIALS`` of the background, also under objects.
        objects: from the bottom to the top one.
    """

    image: np.ndarray
    materials: np.ndarray
    objects: tuple[SceneObject, ...]


def draw_scene(rng: np.random.Generator, recipe: SceneRecipe) -> Scene:
    """Draw one picture; the same generator state gives the same picture."""
    height, width = recipe.image_size
    canvas, materials = draw_background(rng, height, width)
    placed = _place_objects(rng, recipe)
    kept, masks = _keep_visible(placed, height, width)
    for item in kept:
        canvas = _paint(rng, canvas, item)
    image = _photograph(rng, canvas)
    objects = tuple(
        SceneObject(item.class_id, mask, _seen_keypoints(item.outline, mask))
        for item, mask in zip(kept, masks, strict=True)
    )
    return Scene(image, materials, objects)


@attrs.frozen(eq=False)
class _Placed:
    class_id: int
    outline: np.ndarray  # (V, 2) in picture coordinates
    window: tuple[int, int, int, int]  # x0, y0, x1, y1 of the pixels it may cover
    coverage: np.ndarray  # (y1 - y0, x1 - x0) uint8, 255 = the whole pixel


def _place_objects(rng: np.random.Generator, recipe: SceneRecipe) -> list[_Placed]:
    """Objects from back to front; larger ones tend to lie further back."""
    height, width = recipe.image_size
    least, most = recipe.objects_per_image
    small, large = recipe.object_size
    drawn = []
    for _ in range(int(rng.integers(least, most + 1))):
        class_id = int(rng.integers(len(CLASSES)))
        # The square prefers small objects.
        diameter = min(height, width) * (small + (large - small) * rng.random() ** 2)
        outline = draw_outline(rng, class_id, diameter)
        centre = np.round((0.08 + 0.84 * rng.random(2)) * (width, height) * 64) / 64
        depth = diameter * (0.5 + rng.random())
        drawn.append((depth, class_id, outline + centre))
    drawn.sort(key=lambda entry: -entry[0])
    return [_rasterise(class_id, outline, height, width) for _, class_id, outline in drawn]


def _rasterise(class_id: int, outline: np.ndarray, height: int, width: int) -> _Placed:
    low = np.floor(outline.min(axis=0)).astype(int)
    high = np.ceil(outline.max(axis=0)).astype(int)
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    x1, y1 = min(int(high[0]), width), min(int(high[1]), height)
    s = _SUPERSAMPLING
    layer = Image.new("L", ((x1 - x0) * s, (y1 - y0) * s))
    # Pillow's polygons live on sample centres, half a sample after the samples' edges.
    corners = (outline - (x0, y0)) * s - 0.5
    ImageDraw.Draw(layer).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    return _Placed(class_id, outline, (x0, y0, x1, y1), np.asarray(layer.reduce(s)))


def _keep_visible(
    placed: list[_Placed], height: int, width: int
) -> tuple[list[_Placed], list[np.ndarray]]:
    """Leave out objects that would hardly be seen, from the top one down.

    Whoever is left out covers nobody, so an object's fate depends only on those above it.
    """
    covered = np.zeros((height, width), dtype=bool)
    kept, masks = [], []
    for item in reversed(placed):
        x0, y0, x1, y1 = item.window
        mask = np.zeros((height, width), dtype=bool)
        mask[y0:y1, x0:x1] = item.coverage >= 128
        visible = mask & ~covered
        needed = max(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_FRACTION * outline_area(item.outline))
        if np.count_nonzero(visible) >= needed:
            covered |= mask
            kept.append(item)
            masks.append(visible)
    return kept[::-1], masks[::-1]


def _paint(rng: np.random.Generator, canvas: np.ndarray, item: _Placed) -> np.ndarray:
    """Blend one object over the canvas, patterned and lit from one side."""
    x0, y0, x1, y1 = item.window
    height, width = y1 - y0, x1 - x0
    alpha = item.coverage.astype(np.float32)[:, :, None] / np.float32(255)
    below = canvas[y0:y1, x0:x1]
    mean_below = (below * alpha).sum(axis=(0, 1), dtype=np.float64) / alpha.sum(dtype=np.float64)
    colour = _contrasting_colour(rng, mean_below)
    amplitude = np.float32(10 + 30 * rng.random())
    pattern = amplitude * _draw_pattern(rng, height, width)
    slope = random_slope(rng, height, width)
    light = 1 + np.float32(0.45 * rng.random()) * slope
    surface = (colour + pattern[:, :, None]) * light[:, :, None]
    painted = canvas.copy()
    painted[y0:y1, x0:x1] = below + alpha * (surface - below)
    return painted


def _draw_pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Nothing, stripes, clouds or checks: (height, width) float32 within [−0.5, 0.5]."""
    x, y = pixel_grid(height, width)
    period = np.float32(4 + 6 * rng.random())
    kind = int(rng.integers(4))
    if kind == 0:
        return np.zeros((height, width), dtype=np.float32)
    if kind == 1:
        dx, dy = random_direction(rng)
        wave = triangle_wave(x * (np.float32(dx) / period) + y * (np.float32(dy) / period))
        return wave - np.float32(0.5)
    if kind == 2:
        return smooth_noise(rng, height, width, 6) - np.float32(0.5)
    checks: np.ndarray = (np.floor(x / period) + np.floor(y / period)) % 2 - np.float32(0.5)
    return checks


def _contrasting_colour(rng: np.random.Generator, below: np.ndarray) -> np.ndarray:
    """The first of eight random colours that stands out, or the one that does so most."""
    colours = 20 + 215 * rng.random((8, 3))
    distances = np.sqrt(((colours - below) ** 2).sum(axis=1))
    enough = np.flatnonzero(distances >= _MIN_CONTRAST)
    return colours[enough[0] if len(enough) else distances.argmax()].astype(np.float32)


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Sensor noise and, for half of the pictures, a slightly soft lens."""
    strength = 2 + 7 * rng.random()
    noise = (rng.random(canvas.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(
        2 * strength
    )
    image = np.clip(np.round(canvas + noise), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        kernel = ImageFilter.Kernel((3, 3), (1, 2, 1, 2, 12, 2, 1, 2, 1))
        image = np.asarray(Image.fromarray(image).filter(kernel))
    return image


def _seen_keypoints(outline: np.ndarray, mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    points = outline_keypoints(outline)
    centre = points[0]
    rows = np.zeros((len(points), 3))
    for row, (x, y) in zip(rows, points, strict=True):
        if not (0 <= x < width and 0 <= y < height):
            continue
        # A corner lies on the rim: look a pixel and a half further inside for the object.
        distance = math.hypot(centre[0] - x, centre[1] - y)
        inward = min(1.5 / distance, 1.0) if distance > 0 else 0.0
        column = int(min(max(x + inward * (centre[0] - x), 0), width - 1))
        line = int(min(max(y + inward * (centre[1] - y), 0), height - 1))
        row[:] = x, y, 2 if mask[line, column] else 1
    return rows
