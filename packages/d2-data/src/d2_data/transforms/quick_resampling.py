"""Resizing a grey level off, several times as fast as Pillow.

Training makes use of it, unless it is told not to; transforms themselves resample as Pillow does.
"""

from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch.utils.data import get_worker_info

from d2_data.optional_imports import imported
from d2_data.transforms.resampling import BILINEAR, contiguous_pixels, resize


def resize_quickly(img: np.ndarray, new_h: int, new_w: int, method: int) -> np.ndarray:
    """Resize an image; of three uint8 channels, bilinearly, a grey level off Pillow's at times.

    OpenCV enlarges, where it is installed: a fifth of the values differ. torch does the rest: it
    rounds the weights to 16 bits, and of photographs between one value in ten thousand (enlarging)
    and one in a hundred (shrinking) differs. All round twice, for rows and for columns, so that no
    value is more than two levels off; of photographs none is more than one.

    Args:
        img: (H, W) or (H, W, C).
        new_h, new_w: wanted size in pixels.
        method: number of a Pillow resampling method.

    Returns:
        (new_h, new_w) or (new_h, new_w, C), same dtype; memory may be planar, as models take
        images. Of other images it is what :func:`~d2_data.transforms.resampling.resize` gives.
    """
    if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3 or method != BILINEAR:
        return resize(img, new_h, new_w, method)
    enlarges = new_h >= img.shape[0] and new_w >= img.shape[1]
    opencv = enlarging_library() if enlarges else None
    pixels = contiguous_pixels(img)
    if opencv is not None:
        return _by_opencv(opencv, pixels.numpy(), new_h, new_w)
    # Read as it lies, and written in planes.
    resized = torch.nn.functional.interpolate(
        pixels.permute(2, 0, 1)[None],
        (new_h, new_w),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    planar: np.ndarray = resized[0].numpy().transpose(1, 2, 0)
    return planar


def enlarging_library() -> ModuleType | None:
    """OpenCV, or None where torch enlarges images."""
    return _opencv(get_worker_info() is not None)


@cache
def _opencv(in_worker: bool) -> ModuleType | None:
    opencv = imported("cv2")
    if opencv is not None and in_worker:
        # Workers have a core each; and threads of its own do not survive a fork.
        opencv.setNumThreads(1)
    return opencv


def _by_opencv(opencv: ModuleType, pixels: np.ndarray, new_h: int, new_w: int) -> np.ndarray:
    planes = np.empty((3, new_h, new_w), np.uint8)
    for plane, channel in zip(planes, opencv.split(pixels), strict=True):
        opencv.resize(channel, (new_w, new_h), dst=plane, interpolation=opencv.INTER_LINEAR)
    return planes.transpose(1, 2, 0)
