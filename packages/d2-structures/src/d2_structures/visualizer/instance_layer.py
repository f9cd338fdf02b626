"""Instances of one image laid over it: masks below, then outlines, skeletons and labels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Rect
from .colors import Color, contrasting_text_color, shaded
from .label_layout import LabelLayout
from .rotated_boxes import rotated_corners
from .silhouettes import Silhouette, paint
from .skeleton import Skeleton
from .strokes import closed_segments, dashed
from .style import Style
from .text import make_tag, paint_tag

__all__ = [
    "LABEL_ALPHA",
    "InstanceLayer",
    "draw_box_outline",
    "draw_instance_layer",
    "draw_label",
    "draw_rotated_outline",
    "edge_color_for",
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
    if layer.silhouettes is not None:
        for index in order:
            color = layer.colors[index]
            paint(
                canvas,
                layer.silhouettes[index],
                color,
                alpha,
                edge_color_for(color),
                style.edge_width,
            )
    if layer.boxes is not None:
        outline = draw_rotated_outline if layer.boxes.shape[1] == 5 else draw_box_outline
        box_alpha = max(alpha, 0.8)
        for index in order:
            outline(canvas, layer.boxes[index], style.line_width, layer.colors[index], box_alpha)
    if layer.keypoints is not None:
        for index in order:
            skeleton.draw(canvas, layer.keypoints[index], style)
    for index in order:
        label = layer.labels[index] if layer.labels is not None else None
        if label:
            _label_instance(canvas, layout, style, layer, index, label)


def draw_box_outline(
    canvas: Canvas,
    box_xyxy: NDArray[np.float64],
    line_width: int,
    color: Color,
    alpha: float,
    line_style: str = "-",
) -> None:
    """Outline an axis-aligned box, in whole pixels so that its lines stay crisp."""
    limit = 2 * (canvas.width + canvas.height)
    x0, y0, x1, y1 = np.clip(box_xyxy, -limit, limit)
    if line_style not in ("-", "solid"):
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        segments = dashed(closed_segments(corners), line_style, line_width)
        canvas.stroke(segments, line_width, color, alpha)
        return
    half = line_width / 2
    # Where a line does not fall on whole pixels it goes to the inner side.
    left, top = (math.floor(edge - half + 0.5) for edge in (min(x0, x1), min(y0, y1)))
    right, bottom = (math.ceil(edge + half - 0.5) for edge in (max(x0, x1), max(y0, y1)))
    rect = Rect(left, top, max(right, left + line_width), max(bottom, top + line_width))
    canvas.frame(rect, line_width, color, alpha)


def draw_rotated_outline(
    canvas: Canvas,
    box: NDArray[np.float64],
    line_width: float,
    color: Color,
    alpha: float,
    line_style: str = "-",
) -> None:
    """Outline one (5,) rotated box."""
    segments = closed_segments(rotated_corners(box[None])[0])
    canvas.stroke(dashed(segments, line_style, line_width), line_width, color, alpha)


def draw_label(
    canvas: Canvas,
    layout: LabelLayout,
    style: Style,
    text: str,
    color: Color,
    *,
    box: tuple[float, float, float, float] | None = None,
    point: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Draw a label in an instance's colour at its box, or at a point where there is none."""
    tag = make_tag(text, style.font_size)
    size = (tag.width, tag.height)
    corner = layout.place_at_point(point, size) if box is None else layout.place_at_box(box, size)
    paint_tag(canvas, tag, corner, contrasting_text_color(color), color, LABEL_ALPHA)


def _label_instance(
    canvas: Canvas,
    layout: LabelLayout,
    style: Style,
    layer: InstanceLayer,
    index: int,
    text: str,
) -> None:
    color = layer.colors[index]
    if layer.boxes is not None and layer.boxes.shape[1] == 5:
        x, y = rotated_corners(layer.boxes[index][None])[0, 0]
        draw_label(canvas, layout, style, text, color, box=(x, y, x, y))
    elif layer.boxes is not None:
        half = style.line_width / 2
        x0, y0, x1, y1 = layer.boxes[index]
        box = (x0 - half, y0 - half, x1 + half, y1 + half)
        draw_label(canvas, layout, style, text, color, box=box)
    elif layer.silhouettes is not None and layer.silhouettes[index].coverage.size:
        point = _middle(layer.silhouettes[index])
        draw_label(canvas, layout, style, text, color, point=point)
    elif layer.keypoints is not None and layer.keypoints.shape[1]:
        points = layer.keypoints[index, :, :2]
        x, y = points.min(axis=0)
        draw_label(canvas, layout, style, text, color, box=(x, y, *points.max(axis=0)))


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
