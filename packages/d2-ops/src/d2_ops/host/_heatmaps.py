"""Keypoints in heatmaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host

_LIMIT = 2.0**24  # up to which float32 holds every whole number of pixels


def heatmaps_to_keypoints(
    maps: ArrayLike, rois: ArrayLike, *, num_threads: int = 0
) -> NDArray[np.float32]:
    """Find the highest pixel of heatmaps enlarged to their regions.

    Each map is enlarged to its region's size in whole pixels (at least one) by bicubic
    interpolation, but to no more than 4096 pixels a side: those of a larger region are larger than
    the image's, which bounds the work of a map. Of several pixels that are equally high, the first
    in reading order counts. All arithmetic is float32.

    Args:
        maps: (N, K, H, W) logits, one map per region and keypoint.
        rois: (N, 4) x1, y1, x2, y2 in pixels.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (N, K, 4) float32 of x and y of the pixel's centre in the image, the enlarged map's value
        there, and the softmax of that value over the H × W map. The last two are NaN for a map
        that holds NaN or infinity.

    Raises:
        ValueError: if shapes do not fit, or a region is not finite or beyond 2**24 pixels.

    Source: He et al., "Mask R-CNN", 2017, section 5; Keys, "Cubic convolution interpolation", 1981.
    """
    logits = np.ascontiguousarray(maps, np.float32)
    corners = np.ascontiguousarray(rois, np.float32)
    if logits.ndim != 4 or corners.shape != (len(logits), 4):
        raise ValueError(
            f"wanted maps (N, K, H, W) and rois (N, 4), got {logits.shape} and {corners.shape}"
        )
    good = (np.abs(corners) <= _LIMIT).all(1)
    if not good.all():
        i = int(good.argmin())
        raise ValueError(f"rois[{i}] is not finite or beyond 2**24: {corners[i].tolist()}")
    keypoints = np.zeros((*logits.shape[:2], 4), np.float32)
    if logits.size:
        _host.find_keypoints(logits, corners, keypoints, num_threads)
    return keypoints
