"""What is known about a feature map's shape before any image is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def common_width(shapes: Sequence[ShapeSpec], wanted_by: str) -> int:
    """The number of channels that feature maps share.

    Args:
        shapes: of the feature maps.
        wanted_by: who asks; for the error.

    Raises:
        ValueError: if they differ, or one is unknown.
    """
    widths = {shape.channels for shape in shapes}
    width = next(iter(widths), None)
    if len(widths) != 1 or width is None:
        given = [shape.channels for shape in shapes]
        raise ValueError(f"{wanted_by} wants feature maps of one known width, got {given} channels")
    return width


def select_shapes(
    shapes: Mapping[str, ShapeSpec], names: Sequence[str], wanted_by: str
) -> list[ShapeSpec]:
    """The shapes of the named feature maps.

    Args:
        shapes: what a backbone's ``output_shape()`` gives.
        names: feature maps to pick, in the order of the result.
        wanted_by: who asks, e.g. the config key that holds the names; for the error.

    Raises:
        ValueError: if a feature map does not exist or no name is given.
    """
    missing = [name for name in names if name not in shapes]
    if missing or not names:
        raise ValueError(
            f"{wanted_by} is {list(names)}, but the backbone gives only {list(shapes)}; "
            "name its outputs"
        )
    return [shapes[name] for name in names]
