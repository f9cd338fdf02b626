"""What is known about a feature map's shape before any image is seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Channels, size and stride of a feature map; None where unknown.

    ``stride`` is the number of input pixels per feature map pixel. A dataclass, so that lazy
    configs can hold it and change its fields.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
