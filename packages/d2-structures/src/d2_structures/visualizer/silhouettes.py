"""Masks as anti-aliased coverage in output pixels, and how they are laid over a canvas."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from d2_ops.overlay import soften_mask

from .canvas import Canvas, Patch, Rect, Stroke
from .colors import Color
from .mask_kinds import BinaryMask, InstanceMask, PolygonMask
from .strokes import closed_segments

__all__ = ["Silhouette", "binary_silhouette", "mask_silhouette", "paint", "polygon_silhouette"]

_MAX_SUPERSAMPLED_PIXELS = 4_000_000


class Silhouette(NamedTuple):
    """What one mask covers of a canvas."""

    x0: int
    y0: int
    coverage: NDArray[np.uint8]
    """(h, w), 255 where a pixel lies entirely inside."""
    outline: NDArray[np.float64] | None
    """(S, 4) segments of the border, or None where the coverage itself shows it."""

    @property
    def rect(self) -> Rect:
        height, width = self.coverage.shape
        return Rect(self.x0, self.y0, self.x0 + width, self.y0 + height)

    @property
    def area(self) -> float:
        """Covered output pixels."""
        return float(self.coverage.sum(dtype=np.int64)) / 255


def mask_silhouette(mask: InstanceMask, image_size: tuple[int, int], scale: float) -> Silhouette:
    """What a mask covers of a canvas ``scale`` times the image of (height, width)."""
    if isinstance(mask, PolygonMask):
        polygons = [polygon * scale for polygon in mask.polygons]
        height, width = (int(np.ceil(size * scale)) for size in image_size)
        return polygon_silhouette(polygons, height, width)
    return binary_silhouette(mask, image_size, scale)


def paint(
    canvas: Canvas,
    silhouettes: Sequence[Silhouette],
    colors: Sequence[tuple[Color, Color]],
    alpha: float,
    edge_width: float,
) -> None:
    """Blend each silhouette in its first colour and trace its border in the second."""
    patches: list[Patch] = []
    for (x0, y0, coverage, outline), (fill, edge) in zip(silhouettes, colors, strict=True):
        if outline is None:
            patches.append(Patch(x0, y0, coverage, fill, alpha, edge))
            continue
        canvas.lay([*patches, Patch(x0, y0, coverage, fill, alpha)])
        canvas.stroke([Stroke(outline, edge_width, edge)])
        patches.clear()
    canvas.lay(patches)


def binary_silhouette(mask: BinaryMask, image_size: tuple[int, int], scale: float) -> Silhouette:
    """Soften the stairs of a binary mask over one pixel; beyond the image it goes on."""
    if not mask.pixels.size:
        return Silhouette(0, 0, np.zeros((0, 0), np.uint8), None)
    x0, y0, coverage = soften_mask(mask.pixels, mask.x0, mask.y0, *image_size)
    if scale != 1.0:
        return _scaled(x0, y0, coverage, scale)
    return Silhouette(x0, y0, coverage, None)


def _scaled(x0: int, y0: int, coverage: NDArray[np.uint8], scale: float) -> Silhouette:
    height, width = coverage.shape
    left, top = int(np.floor(x0 * scale)), int(np.floor(y0 * scale))
    right, bottom = int(np.ceil((x0 + width) * scale)), int(np.ceil((y0 + height) * scale))
    # Pad so that the whole-pixel output rectangle maps back inside the source.
    margin = int(np.ceil(1 / scale))
    padded = np.pad(coverage, margin, mode="edge")
    source = (
        left / scale - x0 + margin,
        top / scale - y0 + margin,
        right / scale - x0 + margin,
        bottom / scale - y0 + margin,
    )
    resized = Image.fromarray(padded).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=source
    )
    return Silhouette(left, top, np.asarray(resized), None)


def polygon_silhouette(polygons: list[NDArray[np.float64]], height: int, width: int) -> Silhouette:
    """Fill the union of polygons (in output pixels) by supersampling, within the canvas."""
    if not polygons:
        return Silhouette(0, 0, np.zeros((0, 0), np.uint8), None)
    corners = np.concatenate(polygons)
    outline = np.concatenate([closed_segments(polygon) for polygon in polygons])
    low = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, (width, height)).astype(int)
    columns, rows = (int(size) for size in high - low)
    if columns <= 0 or rows <= 0:
        return Silhouette(0, 0, np.zeros((0, 0), np.uint8), outline)
    factor = 4 if columns * rows * 16 <= _MAX_SUPERSAMPLED_PIXELS else 2
    fine = Image.new("L", (columns * factor, rows * factor))
    draw = ImageDraw.Draw(fine)
    for polygon in polygons:
        # Pillow's coordinates are centres of (fine) pixels.
        points = (polygon - low) * factor - 0.5
        draw.polygon(points.reshape(-1).tolist(), fill=255)
    coverage = np.asarray(fine.reduce(factor))
    return Silhouette(int(low[0]), int(low[1]), coverage, outline)
