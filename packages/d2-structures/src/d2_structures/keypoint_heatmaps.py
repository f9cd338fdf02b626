"""Finding keypoints in heatmaps.

On the CPU a kernel of d2-ops does it. Elsewhere, and where a graph is recorded, use is made of
bicubic interpolation being linear and working along rows and columns apart, so that an enlarged
map is ``rows @ map @ columns.T`` with a matrix of weights for either axis. That makes the enlarged
maps of many regions two batched matrix products; regions of like size are taken together, so that
little of the common shape is padding.
"""

from typing import Any

import torch
from torch import Tensor

from d2_ops import host

from .tensor_input import is_recording, on_host

__all__ = ["heatmaps_to_keypoints"]

# Keys' cubic convolution parameter, as in torch's bicubic interpolation.
_CUBIC = -0.75
# Sides of enlarged maps, as in the kernel of d2-ops.
_MOST_PIXELS = 4096
# Pixels of enlarged maps that are held at a time, of one keypoint.
_PIXELS_AT_A_TIME = 20_000


@torch.no_grad()
def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> Tensor:
    """Read keypoints off predicted heatmaps.

    Each map is enlarged to its region's size in whole pixels (at least one) by bicubic
    interpolation, and the highest pixel's centre is the keypoint: c = d + 0.5 for the discrete
    coordinate d, consistent with `Keypoints.to_heatmap`. A side of more than 4096 pixels becomes
    4096, of which each is then larger than one of the image: the work on a region is bounded.

    Args:
        maps: (N, K, H, W) floating logits, one map per region and keypoint.
        rois: (N, 4) corners of the regions in pixels.

    Returns:
        (N, K, 4) float32 of (x, y, logit, score): continuous pixel coordinates in the image, the
        enlarged map's maximum, and its softmax value over the H × W map. Where several pixels
        are equally high, the first in reading order counts. Not differentiable.

    Raises:
        ValueError: if the shapes do not fit, or on the CPU if a region is not finite.

    Source: He et al., "Mask R-CNN", 2017, section 5; Heckbert, "What are the coordinates of a
    pixel?", 1990; Keys, "Cubic convolution interpolation", 1981.
    """
    if not is_recording():
        _check_shapes(maps, rois)
    num_rois, num_keypoints = maps.shape[:2]
    if not is_recording() and maps.numel() == 0:
        return rois.new_zeros((num_rois, num_keypoints, 4), dtype=torch.float32)
    if on_host(maps) and on_host(rois):
        return _found_by_kernel(maps, rois)
    rois, maps = rois.to(torch.float32), maps.to(torch.float32)
    size_xy = (rois[:, 2:] - rois[:, :2]).clamp(min=1)
    pixels_xy = size_xy.ceil().clamp(max=_MOST_PIXELS)

    logits, peak_xy = _enlarged_maxima(maps, pixels_xy.to(torch.int64))
    scores = 1 / (maps - logits[:, :, None, None]).exp().sum(dim=(2, 3))
    points = (peak_xy + 0.5) * (size_xy / pixels_xy)[:, None] + rois[:, None, :2]
    return torch.cat((points, torch.stack((logits, scores), dim=2)), dim=2)


def _found_by_kernel(maps: Tensor, rois: Tensor) -> Tensor:
    found = host.heatmaps_to_keypoints(
        maps.detach().to(torch.float32).numpy(),
        rois.detach().to(torch.float32).numpy(),
        num_threads=torch.get_num_threads(),
    )
    return torch.from_numpy(found)


def _check_shapes(maps: Tensor, rois: Tensor) -> None:
    for name, value in (("maps", maps), ("rois", rois)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if maps.dim() != 4 or rois.dim() != 2 or rois.shape[1] != 4:
        raise ValueError(
            "heatmaps_to_keypoints needs maps (N, K, H, W) and rois (N, 4), got "
            f"{list(maps.shape)} and {list(rois.shape)}"
        )
    if maps.shape[0] != rois.shape[0]:
        raise ValueError(f"got {maps.shape[0]} maps but {rois.shape[0]} rois")


def _enlarged_maxima(maps: Tensor, pixels_xy: Tensor) -> tuple[Tensor, Tensor]:
    """Highest value, and its pixel, of each map after enlargement.

    Args:
        maps: (N, K, H, W) float32.
        pixels_xy: (N, 2) int64, columns and rows to enlarge the maps of a region to.

    Returns:
        (N, K) values and (N, K, 2) int64 positions (column, row).
    """
    if is_recording():
        return _padded_maxima(maps, pixels_xy)
    areas, order = pixels_xy.prod(dim=1).sort()
    batch = areas.cumsum(0) // _PIXELS_AT_A_TIME
    sizes = batch.unique_consecutive(return_counts=True)[1].tolist()
    parts = [_padded_maxima(maps[rois], pixels_xy[rois]) for rois in order.split(sizes)]
    back = order.argsort()
    return torch.cat([p[0] for p in parts])[back], torch.cat([p[1] for p in parts])[back]


def _padded_maxima(maps: Tensor, pixels_xy: Tensor) -> tuple[Tensor, Tensor]:
    """`_enlarged_maxima` with all maps enlarged in one shape, the last pixels repeated."""
    num_keypoints, height, width = maps.shape[1:]
    columns = _cubic_weights(pixels_xy[:, 0], width)
    rows = _cubic_weights(pixels_xy[:, 1], height)
    # With the map's rows first, both products are plain ones, of (H * K, W) and (H, K * L).
    wide = maps.transpose(1, 2).flatten(1, 2) @ columns.transpose(1, 2)
    enlarged = rows @ wide.unflatten(1, (height, num_keypoints)).flatten(2)
    in_line, column = enlarged.unflatten(2, (num_keypoints, columns.shape[1])).max(dim=3)
    values, row = in_line.max(dim=1)
    column = column.gather(1, row[:, None]).squeeze(1)
    position_xy = torch.stack((column, row), dim=2)
    # The first of equals is never a repeated pixel, unless rounding differs between them.
    return values, torch.minimum(position_xy, pixels_xy[:, None] - 1)


def _cubic_weights(pixels: Tensor, side: int) -> Tensor:
    """How much each of ``side`` values counts for each pixel of a line enlarged to ``pixels``.

    Args:
        pixels: (N,) int64 lengths, of which the longest, or 2, is the length L of all lines.
        side: number of values enlarged.

    Returns:
        (N, L, side) weights of Keys' cubic convolution; the last line is repeated up to L.
    """
    # It stays a tensor, and there is a longest of no line: a trace holds for other sizes.
    longest: Any = torch.cat((pixels, pixels.new_full((1,), 2))).max()
    number = torch.arange(longest, device=pixels.device)
    length: Any = number.shape[0]
    if isinstance(length, torch.SymInt):
        torch._check(length >= 2)  # compilers ask whether it is a single one
    number = torch.minimum(number, pixels[:, None] - 1)
    # The pixel's centre lies at numerator / denominator, counted from the first value's centre.
    numerator = (2 * number + 1) * side - pixels[:, None]
    denominator = 2 * pixels[:, None]
    before = numerator.div(denominator, rounding_mode="floor")
    t = ((numerator - before * denominator) / denominator).to(torch.float32)

    taps = before[:, :, None] + torch.arange(-1, 3, device=pixels.device)
    weights = torch.stack((_far(t + 1), _near(t), _near(1 - t), _far(2 - t)), dim=2)
    lines = weights.new_zeros((*t.shape, side))
    return lines.scatter_add(2, taps.clamp(min=0, max=side - 1), weights)


def _near(x: Tensor) -> Tensor:
    """Weight of a value at most one away."""
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _far(x: Tensor) -> Tensor:
    """Weight of a value one to two away."""
    return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC
