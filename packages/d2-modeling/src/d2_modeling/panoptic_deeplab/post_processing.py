"""From classes, centres and offsets to a panoptic segmentation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batched_selection import rows_where
from ..host_waits import numbers_on


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
    return _peaks(center_heatmap, threshold, nms_kernel, top_k).nonzero()


def _peaks(center_heatmap: Tensor, threshold: float, nms_kernel: int, top_k: int | None) -> Tensor:
    """(H, W) bool, see `find_instance_center`."""
    heat = F.threshold(center_heatmap, threshold, -1)
    highest = F.max_pool2d(heat[None], nms_kernel, stride=1, padding=(nms_kernel - 1) // 2)[0]
    peaks = heat.masked_fill(heat != highest, -1)[0]
    floor = peaks.new_zeros(())
    if top_k is not None:
        floor = peaks.flatten().topk(min(top_k, peaks.numel())).values[-1].clamp(min=0)
    return peaks > floor


def group_pixels(center_points: Tensor, offsets: Tensor) -> Tensor:
    """The number, from 1, of the centre that each pixel points nearest to.

    Args:
        center_points: (K, 2) rows and columns.
        offsets: (2, H, W) (dy, dx).

    Returns:
        (1, H, W) int64; 0 if there are no centres.
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
    labels, places = sem_seg.long().unique(return_inverse=True)
    is_thing = marked(labels, thing_ids)
    things = is_thing[places] if foreground_mask is None else foreground_mask.bool()
    (found,) = segment_images(
        *([places], [things], [center_heatmap], [offsets], labels, is_thing),
        *(label_divisor, stuff_area, void_label, threshold, nms_kernel, top_k),
    )
    return found.panoptic, found.centers[None]


class Segmented(NamedTuple):
    """The merged classes and instances of an image."""

    panoptic: Tensor  # (1, H, W) int64
    centers: Tensor  # (K, 2) int64
    numbers: Tensor  # (K,) int64, in the panoptic map, of the instance of each centre
    areas: Tensor  # (K,) int64, its pixels; there may be none


def marked(labels: Tensor, chosen: Collection[int]) -> Tensor:
    """Which of (L,) labels are among the chosen ones."""
    return (labels[:, None] == numbers_on(labels.device, list(chosen), labels.dtype)).any(dim=1)


def segment_images(
    sem_segs: Sequence[Tensor],
    foregrounds: Sequence[Tensor],
    center_heatmaps: Sequence[Tensor],
    offsets: Sequence[Tensor],
    labels: Tensor,
    is_thing: Tensor,
    label_divisor: int,
    stuff_area: int,
    void_label: int,
    threshold: float,
    nms_kernel: int,
    top_k: int | None,
) -> list[Segmented]:
    """`get_panoptic_segmentation` of a batch. The host waits for the device once.

    Args:
        sem_segs: for each image (1, H, W) places in ``labels``.
        foregrounds: for each image (1, H, W) bool.
        center_heatmaps: see there, for each image.
        offsets: see there, for each image.
        labels: (L,) classes, ascending.
        is_thing: (L,) bool.
        label_divisor, stuff_area, void_label: see there.
        threshold, nms_kernel, top_k: see there.
    """
    peaks = [_peaks(heat, threshold, nms_kernel, top_k) for heat in center_heatmaps]
    rows = rows_where([mask.flatten() for mask in peaks])
    segmented = []
    for sem_seg, things, mask, peak_rows, shifts in zip(
        sem_segs, foregrounds, peaks, rows, offsets, strict=True
    ):
        width = mask.shape[1]
        row = peak_rows.div(width, rounding_mode="floor")
        centers = torch.stack([row, peak_rows - row * width], dim=1)
        instances = torch.where(things, group_pixels(centers, shifts), 0)
        areas = torch.zeros((len(centers) + 1) * len(labels), dtype=torch.int64, device=mask.device)
        pairs = (instances * len(labels) + sem_seg).flatten()
        areas = areas.scatter_add(0, pairs, torch.ones_like(pairs)).view(-1, len(labels))
        of_instances, stuff = areas[1:], areas[0]
        majority = of_instances.argmax(dim=1)
        same = (majority[:, None] == majority) & of_instances.any(dim=1)
        numbers = labels[majority] * label_divisor + same.tril().sum(dim=1)
        of_stuff = (labels * label_divisor).where(~is_thing & (stuff >= stuff_area), void_label)
        # Background first, whose number is not used.
        of_things = torch.cat([numbers.new_zeros(1), numbers])[instances]
        panoptic = torch.where(instances > 0, of_things, of_stuff[sem_seg])
        segmented.append(Segmented(panoptic, centers, numbers, of_instances.sum(dim=1)))
    return segmented
