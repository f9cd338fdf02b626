"""Instances of one image laid over it: masks below, then outlines, skeletons and labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..rotated_corners import rotated_corners
from .canvas import Canvas, Frame, Patch, Rect, Stroke
from .colors import Color, contrasting_text_color, shaded
from .label_layout import LabelLayout
from .silhouettes import Silhouette, paint
from .skeleton import Skeleton
from .strokes import closed_segments, dashed
from .style import Style
from .text import make_tag, tag_patches

__all__ = [
    "LABEL_ALPHA",
    "InstanceLayer",
    "draw_box_outlines",
    "draw_instance_layer",
    "draw_rotated_outlines",
    "edge_color_for",
    "label_patches",
]

LABEL_ALPHA = 0.85


class InstanceLayer(NamedTuple):
    """N instances in output pixels; each part may be absent."""

    colors: Sequence[Color]
    boxes: NDArray[np.float64] | None = None
    """(N, 4) corners or (N, 5) rotated."""
    silhouettes: Sequence[Silhouette] | None = None
    keypoints: NDArray[np.float64] | None = None
    """(N, K, 3)."""
    labels: Sequence[str | None] | None = None


def edge_color_for(color: Color) -> Color:
    """The darker shade that borders a mask of this colour."""
    return shaded(color, -0.35)


def draw_instance_layer(
    canvas: Canvas,
    layout: LabelLayout,
    style: Style,
    layer: InstanceLayer,
    skeleton: Skeleton,
    alpha: float,
) -> None:
    """Draw large instances first, so that small ones stay visible, and all labels last."""
    order = _largest_first(layer)
    colors = [layer.colors[index] for index in order]
    if layer.silhouettes is not None:
        silhouettes = [layer.silhouettes[index] for index in order]
        fills_and_edges = [(color, edge_color_for(color)) for color in colors]
        paint(canvas, silhouettes, fills_and_edges, alpha, style.edge_width)
    if layer.boxes is not None:
        rotated = layer.boxes.shape[1] == 5
        outline = draw_rotated_outlines if rotated else draw_box_outlines
        outline(canvas, layer.boxes[order], style.line_width, colors, max(alpha, 0.8))
    if layer.keypoints is not None:
        skeletons = (skeleton.strokes(layer.keypoints[index], style) for index in order)
        canvas.stroke([stroke for strokes in skeletons for stroke in strokes])
    patches: list[Patch] = []
    for index in order:
        label = layer.labels[index] if layer.labels is not None else None
        if label:
            patches += _instance_label(layout, style, layer, index, label)
    canvas.lay(patches)


def draw_box_outlines(
    canvas: Canvas,
    boxes_xyxy: NDArray[np.float64],
    line_width: int,
    colors: Sequence[Color],
    alpha: float,
    line_style: str = "-",
) -> None:
    """Outline (N, 4) axis-aligned boxes, in whole pixels so that their lines stay crisp."""
    limit = 2 * (canvas.width + canvas.height)
    boxes = np.clip(boxes_xyxy, -limit, limit)
    if line_style not in ("-", "solid"):
        outlines = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
        canvas.stroke(_closed_strokes(outlines, line_width, colors, alpha, line_style))
        return
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    half = line_width / 2
    # Where a line does not fall on whole pixels it goes to the inner side.
    starts = np.floor(low - half + 0.5).astype(int)
    stops = np.maximum(np.ceil(high + half - 0.5).astype(int), starts + line_width)
    rects = np.concatenate([starts, stops], axis=1).tolist()
    canvas.frame(
        [
            Frame(Rect(*rect), line_width, color, alpha)
            for rect, color in zip(rects, colors, strict=True)
        ]
    )


def draw_rotated_outlines(
    canvas: Canvas,
    boxes: NDArray[np.float64],
    line_width: float,
    colors: Sequence[Color],
    alpha: float,
    line_style: str = "-",
) -> None:
    """Outline (N, 5) rotated boxes."""
    outlines = rotated_corners(boxes)
    canvas.stroke(_closed_strokes(outlines, line_width, colors, alpha, line_style))


def _closed_strokes(
    outlines: NDArray[np.float64],
    line_width: float,
    colors: Sequence[Color],
    alpha: float,
    line_style: str,
) -> list[Stroke]:
    """What traces (N, P, 2) closed paths."""
    paths = [dashed(closed_segments(outline), line_style, line_width) for outline in outlines]
    return [Stroke(p, line_width, c, alpha) for p, c in zip(paths, colors, strict=True)]


def label_patches(
    layout: LabelLayout,
    style: Style,
    text: str,
    color: Color,
    *,
    box: tuple[float, float, float, float] | None = None,
    point: tuple[float, float] = (0.0, 0.0),
) -> list[Patch]:
    """A label in an instance's colour at its box, or at a point where there is none."""
    tag = make_tag(text, style.font_size)
    size = (tag.width, tag.height)
    corner = layout.place_at_point(point, size) if box is None else layout.place_at_box(box, size)
    return tag_patches(tag, corner, contrasting_text_color(color), color, LABEL_ALPHA)


def _instance_label(
    layout: LabelLayout, style: Style, layer: InstanceLayer, index: int, text: str
) -> list[Patch]:
    color = layer.colors[index]
    if layer.boxes is not None and layer.boxes.shape[1] == 5:
        x, y = rotated_corners(layer.boxes[index][None])[0, 0]
        return label_patches(layout, style, text, color, box=(x, y, x, y))
    if layer.boxes is not None:
        half = style.line_width / 2
        x0, y0, x1, y1 = layer.boxes[index].tolist()
        box = (x0 - half, y0 - half, x1 + half, y1 + half)
        return label_patches(layout, style, text, color, box=box)
    if layer.silhouettes is not None and layer.silhouettes[index].coverage.size:
        point = _middle(layer.silhouettes[index])
        return label_patches(layout, style, text, color, point=point)
    if layer.keypoints is not None and layer.keypoints.shape[1]:
        points = layer.keypoints[index, :, :2]
        x, y = points.min(axis=0)
        return label_patches(layout, style, text, color, box=(x, y, *points.max(axis=0)))
    return []


def _middle(silhouette: Silhouette) -> tuple[float, float]:
    """Median position of the covered pixels."""
    coverage = silhouette.coverage
    x, y = (
        float(np.searchsorted(np.cumsum(mass), mass.sum() / 2))
        for mass in (coverage.sum(axis=0, dtype=np.int64), coverage.sum(axis=1, dtype=np.int64))
    )
    return silhouette.x0 + x + 0.5, silhouette.y0 + y + 0.5


def _largest_first(layer: InstanceLayer) -> list[int]:
    if layer.boxes is not None and layer.boxes.shape[1] == 5:
        areas = layer.boxes[:, 2] * layer.boxes[:, 3]
    elif layer.boxes is not None:
        areas = np.prod(layer.boxes[:, 2:] - layer.boxes[:, :2], axis=1)
    elif layer.silhouettes is not None:
        areas = np.array([silhouette.area for silhouette in layer.silhouettes])
    else:
        return list(range(len(layer.colors)))
    return [int(index) for index in np.argsort(-areas, kind="stable")]
