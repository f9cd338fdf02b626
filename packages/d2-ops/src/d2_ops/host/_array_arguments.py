"""Arrays from what callers give, with errors that name the argument and what came."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def floats(
    name: str, value: ArrayLike | None, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """A contiguous float64 array of finite numbers, of this shape; None stands for any size.

    Raises:
        ValueError: if the shape differs or a number is NaN or infinite.
    """
    if value is None:
        raise ValueError(f"{name} is needed for this task, got None")
    array = np.ascontiguousarray(value, np.float64)
    if array.size == 0 and 0 in shape:
        array = array.reshape([size or 0 for size in shape])
    matches = [size is None or size == got for size, got in zip(shape, array.shape, strict=False)]
    if array.ndim != len(shape) or not all(matches):
        wanted = str(tuple("any" if size is None else size for size in shape)).replace("'", "")
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name}[{', '.join(map(str, where))}] is {array[where]}, must be finite")
    return array


def integers(name: str, value: ArrayLike, count: int | None) -> NDArray[np.int64]:
    """A contiguous (count,) int64 array; None stands for any count.

    Raises:
        TypeError: if the numbers are not integers.
        ValueError: if the shape differs.
    """
    array = np.asarray(value)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {array.dtype}")
    if array.ndim != 1 or count not in (None, len(array)):
        wanted = "any" if count is None else count
        raise ValueError(f"{name} must have shape ({wanted},), got {array.shape}")
    return np.ascontiguousarray(array, np.int64)


def flags(name: str, value: ArrayLike | None, count: int) -> NDArray[np.uint8]:
    """A contiguous (count,) array of 0 and 1; what is not 0 is 1, and None means none.

    Raises:
        ValueError: if the shape differs.
    """
    if value is None:
        return np.zeros(count, np.uint8)
    array = np.asarray(value)
    if array.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), got {array.shape}")
    return np.ascontiguousarray(array != 0).view(np.uint8)
