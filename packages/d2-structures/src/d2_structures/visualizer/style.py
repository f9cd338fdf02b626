"""Sizes of letters and lines that suit a picture's size."""

import math
from typing import NamedTuple

__all__ = ["Style", "style_for"]


class Style(NamedTuple):
    """Sizes in output pixels."""

    font_size: int
    line_width: int
    edge_width: float
    """Borders of polygons."""
    point_radius: float
    """Keypoints."""


def style_for(height: int, width: int) -> Style:
    """The style of a picture of this size in output pixels."""
    side = math.sqrt(height * width)
    return Style(
        font_size=max(round(side / 65), 11),
        line_width=max(round(side / 330), 1),
        edge_width=max(side / 500, 1.0),
        point_radius=max(side / 250, 1.5),
    )
