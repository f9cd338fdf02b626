"""From classes, centres and offsets to a panoptic segmentation."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor


def find_instance_center(
    center_heatmap: Tensor, threshold: float = 0.1, nms_kernel: int = 3, top_k: int | None = None
) -> Tensor:
    """The peaks of a heat map.

    Args:
        center_heatmap: (1, H, W).
        threshold: peaks are higher.
        nms_kernel: side of the window in which a peak is the highest; odd.
        top_k: only peaks that are higher than the ``top_k``-th highest pixel.

    Returns:
        (K, 2) int64 rows and columns, in reading order.
    """
    heat = F.threshold(center_heatmap, threshold, -1)
    highest = F.max_pool2d(heat[None], nms_kernel, stride=1, padding=(nms_kernel - 1) // 2)[0]
    peaks = heat.masked_fill(heat != highest, -1)[0]
    floor = peaks.new_zeros(())
    if top_k is not None:
        floor = peaks.flatten().topk(min(top_k, peaks.numel())).values[-1].clamp(min=0)
    return (peaks > floor).nonzero()


def group_pixels(center_points: Tensor, offsets: Tensor) -> Tensor:
    """The number, from 1, of the centre that each pixel points nearest to.

    Args:
        center_points: (K, 2) rows and columns, at least one.
        offsets: (2, H, W) (dy, dx).

    Returns:
        (1, H, W) int64.
    """
    height, width = offsets.shape[1:]
    rows = torch.arange(height, device=offsets.device, dtype=offsets.dtype)[:, None]
    columns = torch.arange(width, device=offsets.device, dtype=offsets.dtype)[None, :]
    pointed = torch.stack([offsets[0] + rows, offsets[1] + columns], dim=-1).view(-1, 2)
    # Centre by centre: all distances together would be as many maps as there are centres.
    nearest = torch.zeros(len(pointed), dtype=torch.int64, device=offsets.device)
    smallest = torch.full((len(pointed),), torch.inf, device=offsets.device)
    for number, center in enumerate(center_points.to(offsets.dtype), start=1):
        distance = (center - pointed).norm(dim=-1)
        nearer = distance < smallest
        nearest = torch.where(nearer, number, nearest)
        smallest = torch.where(nearer, distance, smallest)
    return nearest.view(1, height, width)


def get_panoptic_segmentation(
    sem_seg: Tensor,
    center_heatmap: Tensor,
    offsets: Tensor,
    thing_ids: Collection[int],
    label_divisor: int,
    stuff_area: int,
    void_label: int,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int | None = 200,
    foreground_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Merge classes and instances.

    Pixels of things belong to the instance whose centre they point to, which has the class that
    most of its pixels have; stuff of a small area becomes void.

    Args:
        sem_seg: (1, H, W) class of each pixel.
        center_heatmap: (1, H, W).
        offsets: (2, H, W) (dy, dx) from each pixel to its centre.
        thing_ids: classes that are things.
        label_divisor: a segment's number is ``class * label_divisor + instance``.
        stuff_area: smaller stuff is void.
        void_label: number of pixels without a segment.
        threshold, nms_kernel, top_k: see `find_instance_center`.
        foreground_mask: (1, H, W) which pixels are things; by default those of such a class.

    Returns:
        (1, H, W) numbers, and (1, K, 2) the centres.
    """
    if foreground_mask is None:
        things = torch.zeros_like(sem_seg, dtype=torch.bool)
        for thing in thing_ids:
            things |= sem_seg == thing
    else:
        things = foreground_mask.bool()
    centers = find_instance_center(center_heatmap, threshold, nms_kernel, top_k)
    instances = torch.zeros_like(sem_seg, dtype=torch.int64)
    if len(centers) > 0:
        instances = torch.where(things, group_pixels(centers, offsets), 0)
    merged = _merged(sem_seg, instances, set(thing_ids), label_divisor, stuff_area, void_label)
    return merged, centers[None]


def _merged(
    sem_seg: Tensor,
    instances: Tensor,
    thing_ids: set[int],
    label_divisor: int,
    stuff_area: int,
    void_label: int,
) -> Tensor:
    panoptic = torch.full_like(sem_seg, void_label, dtype=torch.int64)
    numbers: dict[int, int] = {}
    for instance in instances.unique().tolist():
        if instance == 0:
            continue
        mask = instances == instance
        label = int(sem_seg[mask].flatten().mode().values)
        numbers[label] = numbers.get(label, 0) + 1
        panoptic[mask] = label * label_divisor + numbers[label]
    for label in sem_seg.unique().tolist():
        if int(label) in thing_ids:
            continue
        mask = (sem_seg == label) & (instances == 0)
        if int(mask.sum()) >= stuff_area:
            panoptic[mask] = int(label) * label_divisor
    return panoptic
