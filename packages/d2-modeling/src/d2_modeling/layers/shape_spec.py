"""What is known about a feature map's shape before any image is seen."""

from __future__ import annotations

from typing import NamedTuple


class ShapeSpec(NamedTuple):
    """Channels, size and stride of a feature map; None where unknown.

    ``stride`` is the number of input pixels per feature map pixel.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
