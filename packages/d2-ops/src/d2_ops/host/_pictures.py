"""Pictures of another size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._host_kernels import kernels as _host


def resize_picture(
    picture: NDArray[np.uint8], height: int, width: int, *, num_threads: int = 0
) -> NDArray[np.uint8]:
    """Resize a picture bilinearly; where it shrinks, all pixels under a new one are averaged.

    Bit for bit what Pillow makes of it. The first pass is along rows, or along columns if the
    height loses more than twice as many pixels as the width, as Pillow does from version 13 on;
    where the order is another in earlier versions, their values may be a level off.

    Args:
        picture: (H, W) or (H, W, C) uint8.
        height, width: after, in pixels, 1 or more.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (height, width) or (height, width, C) uint8. In memory each channel is a plane of its own.

    Raises:
        ValueError: if the picture is of another type or shape, or has no pixels, or a side is no
            positive number.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.size == 0:
        raise ValueError(
            "wanted a picture of uint8, (H, W) or (H, W, C) with some pixels, got "
            f"{picture.dtype} of shape {picture.shape}"
        )
    if height < 1 or width < 1:
        raise ValueError(f"wanted height and width of 1 or more, got {height} and {width}")
    pixels = np.ascontiguousarray(picture).reshape(*picture.shape[:2], -1)
    planes = np.empty((pixels.shape[2], height, width), np.uint8)
    _host.resize_picture(pixels, planes, num_threads)
    return planes[0] if picture.ndim == 2 else planes.transpose(1, 2, 0)
