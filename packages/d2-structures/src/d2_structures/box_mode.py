"""The ways to write a box down, and conversion between them."""

import enum
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

__all__ = ["BoxMode"]

# A box in any accepted container; what comes out has the kind that went in.
BoxLike = TypeVar("BoxLike", list[Any], tuple[Any, ...], np.ndarray, torch.Tensor)

# One column of boxes: a number, or an array or tensor of them.
Column = Any
Columns = tuple[Column, ...]

_NUMBERS = (int, float, np.number, np.ndarray, torch.Tensor)


class BoxMode(enum.IntEnum):
    """The ways to write a box down. The integer values are part of dataset files."""

    XYXY_ABS = 0
    """(x1, y1, x2, y2) in pixels, continuous coordinates."""
    XYWH_ABS = 1
    """(x1, y1, width, height) in pixels: COCO's way."""
    XYXY_REL = 2
    """(x1, y1, x2, y2) as fractions of the image's width and height."""
    XYWH_REL = 3
    """(x1, y1, width, height) as fractions of the image's width and height."""
    XYWHA_ABS = 4
    """(x_center, y_center, width, height, angle), pixels and degrees counter-clockwise."""

    @staticmethod
    def convert(
        box: BoxLike,
        from_mode: "BoxMode",
        to_mode: "BoxMode",
        *,
        image_size: tuple[int, int] | None = None,
    ) -> BoxLike:
        """Rewrite boxes from one mode to another.

        An axis-aligned box becomes a rotated one of angle 0; a rotated box becomes the smallest
        axis-aligned box around it.

        Args:
            box: one box (k numbers) or many ((..., k)): list, tuple, NumPy array or tensor, with
                k = 5 for XYWHA_ABS and 4 for the others.
            from_mode: the mode of ``box``.
            to_mode: the mode wanted.
            image_size: (height, width) in pixels; needed only between pixels and fractions.

        Returns:
            The converted boxes, in the container and dtype that came in (integers become floats
            where the result is not whole). ``box`` itself if the modes are equal, otherwise a new
            object; ``box`` is never written to.

        Raises:
            ValueError: if the last dimension is not k, or a conversion between pixels and
                fractions lacks ``image_size``.
            TypeError: if ``box`` is of another kind, or holds no numbers.
        """
        source, target = BoxMode(from_mode), BoxMode(to_mode)
        if source == target:
            return box
        steps = _steps(source, target, image_size)
        if isinstance(box, (list, tuple)):
            return _convert_sequence(box, source, steps)
        if not isinstance(box, (np.ndarray, torch.Tensor)):
            raise TypeError(
                f"BoxMode.convert takes a list, tuple, array or tensor, got {type(box).__name__}"
            )
        _check_size(tuple(box.shape), source)
        if box.dtype in (torch.bool, np.dtype(bool)):
            raise TypeError(f"a box is made of numbers, got {box.dtype}")
        columns = tuple(box[..., i] for i in range(box.shape[-1]))
        if isinstance(box, torch.Tensor):
            converted = torch.stack(_run(columns, steps), dim=-1)
            return converted.to(box.dtype) if box.is_floating_point() else converted
        array = np.stack(_run(columns, steps), axis=-1)
        return array.astype(box.dtype, copy=False) if box.dtype.kind == "f" else array


def _convert_sequence(box: Any, source: BoxMode, steps: list[Callable[[Columns], Columns]]) -> Any:
    kind = type(box)
    if box and isinstance(box[0], (list, tuple, np.ndarray, torch.Tensor)):
        return kind(_convert_sequence(list(row), source, steps) for row in box)
    _check_size((len(box),), source)
    if not all(isinstance(value, _NUMBERS) for value in box):
        raise TypeError(f"a box is made of numbers, got {box!r:.100}")
    columns = _run(tuple(box), steps)
    return kind(c.item() if isinstance(c, np.generic) else c for c in columns)


def _check_size(shape: tuple[int, ...], mode: BoxMode) -> None:
    size = 5 if mode == BoxMode.XYWHA_ABS else 4
    if not shape or shape[-1] != size:
        raise ValueError(
            f"boxes in {mode.name} have {size} numbers in the last dimension, got shape {shape}"
        )


def _run(columns: Columns, steps: list[Callable[[Columns], Columns]]) -> Columns:
    for step in steps:
        columns = step(columns)
    return columns


def _steps(
    source: BoxMode, target: BoxMode, image_size: Sequence[int] | None
) -> list[Callable[[Columns], Columns]]:
    """The conversions to run one after the other; all meet at (x1, y1, width, height)."""
    steps: list[Callable[[Columns], Columns]] = []
    if source in (BoxMode.XYXY_ABS, BoxMode.XYXY_REL):
        steps.append(_corners_to_size)
    elif source == BoxMode.XYWHA_ABS:
        steps.append(_rotated_to_size)

    relative = (BoxMode.XYXY_REL, BoxMode.XYWH_REL)
    if (source in relative) != (target in relative):
        if image_size is None:
            raise ValueError(
                f"converting {source.name} to {target.name} needs image_size=(height, width)"
            )
        try:
            height, width = image_size
            positive = height > 0 and width > 0
        except TypeError:
            positive = False
        if not positive:
            raise ValueError(f"image_size must be positive (height, width), got {image_size}")
        if target in relative:
            steps.append(lambda c: (c[0] / width, c[1] / height, c[2] / width, c[3] / height))
        else:
            steps.append(lambda c: (c[0] * width, c[1] * height, c[2] * width, c[3] * height))

    if target in (BoxMode.XYXY_ABS, BoxMode.XYXY_REL):
        steps.append(_size_to_corners)
    elif target == BoxMode.XYWHA_ABS:
        steps.append(_size_to_rotated)
    return steps


def _corners_to_size(columns: Columns) -> Columns:
    x1, y1, x2, y2 = columns
    return x1, y1, x2 - x1, y2 - y1


def _size_to_corners(columns: Columns) -> Columns:
    x1, y1, width, height = columns
    return x1, y1, x1 + width, y1 + height


def _size_to_rotated(columns: Columns) -> Columns:
    x1, y1, width, height = columns
    return x1 + width / 2, y1 + height / 2, width, height, width * 0


def _rotated_to_size(columns: Columns) -> Columns:
    """Smallest axis-aligned box around each rotated one, computed in float64."""
    if isinstance(columns[0], torch.Tensor):
        center_x, center_y, width, height, angle = (c.double() for c in columns)
        radians = angle * (math.pi / 180)
        cos, sin = radians.cos().abs(), radians.sin().abs()
    else:
        center_x, center_y, width, height, angle = (np.asarray(c, np.float64) for c in columns)
        radians = angle * (math.pi / 180)
        cos, sin = abs(np.cos(radians)), abs(np.sin(radians))
    outer_width = cos * width + sin * height
    outer_height = cos * height + sin * width
    x1, y1 = center_x - outer_width / 2, center_y - outer_height / 2
    return x1, y1, outer_width, outer_height
