"""Things in the shapes pictures that are no objects: lines, arcs, crumbs and blots."""

from __future__ import annotations

import attrs
import numpy as np
from PIL import Image, ImageDraw

_SUPERSAMPLING = 2


def strew_distractors(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Blend two to six distractors over a canvas.

    Args:
        rng: source of the draws.
        canvas: (H, W, 3) float32 RGB in grey levels.

    Returns:
        A new canvas.
    """
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(2, 7))):
        sketch = _Sketch.begin(rng, height, width)
        draw = (_draw_line, _draw_arc, _draw_crumbs, _draw_blot)[int(rng.integers(4))]
        coverage = draw(rng, sketch).reduce(_SUPERSAMPLING)
        opacity = np.float32((0.4 + 0.5 * rng.random()) / 255)
        alpha = (np.asarray(coverage, dtype=np.float32) * opacity)[:, :, None]
        colour = (255 * rng.random(3)).astype(np.float32)
        canvas = canvas + alpha * (colour - canvas)
    return canvas


@attrs.frozen(eq=False)
class _Sketch:
    """An empty coverage layer and where and how thick to draw, in pixels of the layer."""

    layer: Image.Image
    x: float
    y: float
    side: int  # the shorter one
    thickness: int

    @classmethod
    def begin(cls, rng: np.random.Generator, height: int, width: int) -> _Sketch:
        layer = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
        side = min(layer.size)
        x, y = layer.width * rng.random(), layer.height * rng.random()
        thickness = max(1, round(side * (0.008 + 0.016 * rng.random())))
        return cls(layer, x, y, side, thickness)


def _draw_line(rng: np.random.Generator, sketch: _Sketch) -> Image.Image:
    x, y = sketch.x, sketch.y
    corners = [(x, y)]
    for _ in range(int(rng.integers(1, 4))):
        x += sketch.side * 0.8 * (rng.random() - 0.5)
        y += sketch.side * 0.8 * (rng.random() - 0.5)
        corners.append((x, y))
    ImageDraw.Draw(sketch.layer).line(corners, fill=255, width=sketch.thickness)
    return sketch.layer


def _draw_arc(rng: np.random.Generator, sketch: _Sketch) -> Image.Image:
    box = _square(sketch.x, sketch.y, sketch.side * (0.06 + 0.2 * rng.random()))
    start = 360 * rng.random()
    end = start + 60 + 160 * rng.random()
    ImageDraw.Draw(sketch.layer).arc(box, start, end, fill=255, width=sketch.thickness)
    return sketch.layer


def _draw_crumbs(rng: np.random.Generator, sketch: _Sketch) -> Image.Image:
    draw = ImageDraw.Draw(sketch.layer)
    for _ in range(int(rng.integers(3, 12))):
        x = sketch.x + sketch.side * 0.3 * (rng.random() - 0.5)
        y = sketch.y + sketch.side * 0.3 * (rng.random() - 0.5)
        draw.ellipse(_square(x, y, sketch.thickness), fill=255)
    return sketch.layer


def _draw_blot(rng: np.random.Generator, sketch: _Sketch) -> Image.Image:
    """A disc without an edge: drawn, made tiny and enlarged again."""
    box = _square(sketch.x, sketch.y, sketch.side * (0.06 + 0.12 * rng.random()))
    ImageDraw.Draw(sketch.layer).ellipse(box, fill=255)
    return sketch.layer.reduce(16).resize(sketch.layer.size, Image.Resampling.BICUBIC)


def _square(x: float, y: float, reach: float) -> tuple[float, float, float, float]:
    return (x - reach, y - reach, x + reach, y + reach)
