"""Cropping and resizing of bitmaps on the CPU.

`d2_ops.roi_align` averages bilinear samples that lie on a grid, so what it computes for one box
is ``rows @ bitmap @ columns.T`` with the weights of the samples along either axis. Two small
matrix products per mask, on nothing but the pixels under the box, replace turning all bitmaps
into floats and gathering four pixels for every sample.
"""

import torch
from torch import Tensor

__all__ = ["crop_and_resize_bitmaps"]


def crop_and_resize_bitmaps(bitmaps: Tensor, boxes: Tensor, mask_size: int) -> Tensor:
    """Average each bitmap over the cells of a grid laid over its box.

    Args:
        bitmaps: (N, H, W) bool, on the CPU.
        boxes: (N, 4) float32 corners in pixels, finite.
        mask_size: cells of the grid along either side.

    Returns:
        (N, mask_size, mask_size) float32, equal but for rounding to
        ``roi_align(bitmaps, boxes, mask_size, sampling_ratio=0, aligned=True)``.
    """
    count, height, width = bitmaps.shape
    averages = torch.zeros((count, mask_size, mask_size))
    if bitmaps.numel() == 0:
        return averages
    rows, rows_per_cell = _sample_weights(boxes[:, 1], boxes[:, 3], height, mask_size)
    columns, columns_per_cell = _sample_weights(boxes[:, 0], boxes[:, 2], width, mask_size)
    # Samples touch at most one pixel outside the box.
    limits = torch.tensor([width, height])
    low = (boxes[:, :2].floor() - 1).clamp(min=torch.zeros(2), max=limits - 1)
    high = torch.maximum((boxes[:, 2:].ceil() + 1).clamp(max=limits), low + 1)
    extents = torch.cat((low, high), dim=1).to(torch.int64).tolist()
    for i, (x1, y1, x2, y2) in enumerate(extents):
        pixels = bitmaps[i, y1:y2, x1:x2].to(torch.float32)
        averages[i] = rows[i, :, y1:y2] @ (pixels @ columns[i, :, x1:x2].T)
    samples = (rows_per_cell * columns_per_cell).clamp(min=1)
    # Dividing last, as roi_align does, keeps a cell that is exactly half covered at 0.5.
    return averages / samples[:, None, None]


def _sample_weights(start: Tensor, stop: Tensor, size: int, cells: int) -> tuple[Tensor, Tensor]:
    """How much each pixel along one axis counts in each cell.

    Returns:
        (N, cells, size) sums of bilinear weights, and (N,) the number of samples per cell.
    """
    cell_length = (stop - start) / cells
    samples = cell_length.ceil().clamp(min=0)
    most = int(samples.max())
    number = torch.arange(most)
    within_cell = (number + 0.5) * (cell_length / samples)[:, None]
    origin = (start - 0.5)[:, None] + torch.arange(cells) * cell_length[:, None]
    position = origin[:, :, None] + within_cell[:, None, :]
    counts = (number < samples[:, None])[:, None, :] & (position >= -1) & (position <= size)

    position = position.nan_to_num(0).clamp(min=0, max=size - 1)
    lower = position.floor()
    fraction = position - lower
    lower = lower.to(torch.int64)
    weights = torch.zeros((len(start), cells, size))
    weights.scatter_add_(2, lower, counts * (1 - fraction))
    weights.scatter_add_(2, (lower + 1).clamp(max=size - 1), counts * fraction)
    return weights, samples
