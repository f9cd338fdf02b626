"""Lines as segments, whole or cut into dashes."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LINE_STYLES", "closed_segments", "dashed", "path_segments"]

LINE_STYLES: dict[str, tuple[float, ...]] = {
    "-": (),
    "--": (3.7, 1.6),
    "-.": (6.4, 1.6, 1.0, 1.6),
    ":": (1.0, 1.65),
}
"""Dash and gap lengths in line widths, as matplotlib draws them."""

_LINE_STYLE_NAMES = {"solid": "-", "dashed": "--", "dashdot": "-.", "dotted": ":"}


def path_segments(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2) points of an open path as (P - 1, 4) segments; a single point as one segment."""
    if len(points) == 1:
        return np.concatenate([points, points], axis=1)
    return np.concatenate([points[:-1], points[1:]], axis=1)


def closed_segments(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2) corners of a polygon as its (P, 4) sides."""
    return np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)


def dashed(
    segments: NDArray[np.float64], line_style: str, line_width: float
) -> NDArray[np.float64]:
    """Cut a path of consecutive segments into the dashes of a line style.

    Args:
        segments: (S, 4) pixels, each beginning where the one before ends.
        line_style: ``"-"``, ``"--"``, ``"-."``, ``":"`` or ``"solid"``, ``"dashed"``,
            ``"dashdot"``, ``"dotted"``; ``"None"``, ``" "`` and ``""`` draw nothing.
        line_width: pixels; dash lengths are multiples of it.

    Raises:
        ValueError: for another line style.
    """
    style = _LINE_STYLE_NAMES.get(line_style, line_style)
    if style in ("None", "none", " ", ""):
        return segments[:0]
    if style not in LINE_STYLES:
        known = ", ".join(repr(s) for s in [*LINE_STYLES, *_LINE_STYLE_NAMES])
        raise ValueError(f"got line style {line_style!r}, wanted one of {known}")
    pattern = LINE_STYLES[style]
    lengths = np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])
    total = float(lengths.sum())
    if not pattern or total <= 0:
        return segments
    return _cut(segments, lengths, _dash_ends(pattern, max(line_width, 1.0), total))


def _dash_ends(pattern: Sequence[float], unit: float, total: float) -> NDArray[np.float64]:
    """(D, 2) where dashes begin and end along the path, shortened by their round caps."""
    marks = np.cumsum([0.0, *pattern]) * unit
    period = marks[-1]
    begins, ends = marks[0:-1:2], marks[1::2]
    shifts = np.arange(math.ceil(total / period))[:, None] * period
    spans = np.stack([shifts + begins, shifts + np.maximum(ends - unit, begins)], axis=-1)
    spans = spans.reshape(-1, 2)
    return np.minimum(spans[spans[:, 0] < total], total)


def _cut(
    segments: NDArray[np.float64], lengths: NDArray[np.float64], spans: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The parts of a path between the given distances from its start."""
    stops = np.cumsum(lengths)
    starts = stops - lengths
    first = np.searchsorted(stops, spans[:, 0], side="right").clip(max=len(stops) - 1)
    last = np.searchsorted(starts, spans[:, 1], side="left").clip(min=1) - 1
    counts = np.maximum(last, first) - first + 1
    span_index = np.repeat(np.arange(len(spans)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    segment_index = first[span_index] + within
    base, length = starts[segment_index], np.maximum(lengths[segment_index], 1e-12)
    t0 = ((spans[span_index, 0] - base) / length).clip(0, 1)[:, None]
    t1 = ((spans[span_index, 1] - base) / length).clip(0, 1)[:, None]
    origin = segments[segment_index, :2]
    step = segments[segment_index, 2:] - origin
    return np.concatenate([origin + step * t0, origin + step * t1], axis=1)
