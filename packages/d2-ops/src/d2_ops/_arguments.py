"""Checks of operator arguments, with errors that name the argument and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized

import torch
from torch import Tensor

_MOST_ELEMENTS = 2**60 - 1
"""Their bytes are counted in 63 bits, and none is larger than 8."""

_MOST_SAMPLES = 1 << 16
"""As in the kernels, along either axis of a bin."""


def check_floating(name: str, value: object) -> None:
    """Raise TypeError unless this is a floating tensor."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor, got {describe(value)}")


def check_columns(name: str, value: Tensor, columns: int) -> None:
    """Raise ValueError unless this has shape (N, columns)."""
    if value.dim() != 2 or value.shape[1] != columns:
        raise ValueError(f"{name} must have shape (N, {columns}), got {describe(value)}")


def check_rows(name: str, value: Tensor, boxes: Tensor) -> None:
    """Raise ValueError unless this has shape (N,) for N boxes, on their device."""
    if value.dim() != 1 or value.shape[0] != boxes.shape[0]:
        raise ValueError(
            f"{name} must have shape ({boxes.shape[0]},), one per box, got {describe(value)}"
        )
    check_device(name, value, "boxes", boxes)


def check_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless both are on one device."""
    if value.device != other.device:
        raise ValueError(f"{name} is on {value.device} but {other_name} on {other.device}")


def check_integers(name: str, value: object) -> None:
    """Raise TypeError unless this is an integer tensor."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex():
        raise TypeError(f"{name} must be an integer tensor, got {describe(value)}")


def check_regions(
    name: str, features: Tensor, boxes: Tensor, columns: int, height: int, width: int
) -> None:
    """Raise TypeError or ValueError unless these can be pooled into height x width bins."""
    check_floating(name, features)
    check_floating("boxes", boxes)
    if features.dim() != 4:
        raise ValueError(f"{name} must have shape (B, C, H, W), got {describe(features)}")
    check_columns("boxes", boxes, columns)
    check_device("boxes", boxes, name, features)
    if height <= 0 or width <= 0:
        raise ValueError(f"output_size must be positive, got {height} x {width}")
    check_elements("the pooled regions", boxes.shape[0], features.shape[1], height, width)


def check_elements(what: str, *sizes: int) -> None:
    """Raise ValueError if no tensor can have these sizes, as their product overflows."""
    if torch.compiler.is_compiling() or not all(type(size) is int for size in sizes):
        return  # sizes that are known later
    if max(sizes) > _MOST_ELEMENTS or math.prod(sizes) > _MOST_ELEMENTS:
        shown = " x ".join(map(str, sizes))
        raise ValueError(f"{what} would have {shown} elements, more than a tensor can hold")


def check_sampling_ratio(value: int) -> None:
    """Raise ValueError if this asks for more samples than the kernels take."""
    if value > _MOST_SAMPLES:
        raise ValueError(f"sampling_ratio must be at most {_MOST_SAMPLES}, got {value}")


def height_and_width(
    name: str, value: Sequence[int], wanted: str = "height and width"
) -> tuple[int, int]:
    """Both of a pair, or a TypeError or ValueError that says what was wanted."""
    if not isinstance(value, Sized):
        raise TypeError(f"{name} must be {wanted}, got {describe(value)}")
    if len(value) != 2:
        raise ValueError(f"{name} must be {wanted}, got {describe(value)}")
    if any(isinstance(part, (float, str)) for part in value):
        raise TypeError(f"{name} must be {wanted}, whole numbers, got {describe(value)}")
    return value[0], value[1]


def pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, given as one number or both."""
    if isinstance(value, int):
        return value, value
    return height_and_width(name, value, "a number or a pair")


def with_image_index(boxes: Tensor | Sequence[Tensor], features: Tensor) -> Tensor:
    """(K, 5) rows of image index and corners, of such rows or of one (L, 4) tensor per image."""
    if isinstance(boxes, Tensor):
        return boxes
    if not isinstance(boxes, Sequence):
        raise TypeError(f"boxes must be a floating tensor or several, got {describe(boxes)}")
    for i, per_image in enumerate(boxes):
        check_floating(f"boxes[{i}]", per_image)
        check_columns(f"boxes[{i}]", per_image, 4)
    if not boxes:
        return features.new_zeros((0, 5))
    rows = [
        torch.nn.functional.pad(per_image, (1, 0), value=i) for i, per_image in enumerate(boxes)
    ]
    return torch.cat(rows)


def describe(value: object) -> str:
    """What an argument is, for error messages."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype} on {value.device}"
    return f"{value!r} ({type(value).__name__})"
