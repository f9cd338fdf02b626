"""Choosing boxes of a whole batch: the boxes of all images stand below each other.

All is tensors in, tensors out, with nothing that depends on how many boxes there are, so that it
can be traced, exported and compiled, and waits for the host a fixed number of times, however many
images there are; but for `batch_index_of`, `rows_where`, `counts_per_image` and
`detections_of_images`, which lead from images apart to a batch and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2_structures import Instances

from .box_kinds import box_kind

_MOST_BOXES = 2**31 - 1


class Regions(NamedTuple):
    """Scored boxes of all images, by image, and within an image by decreasing score."""

    boxes: Tensor  # (P, 4) XYXY, or (P, 5) rotated
    scores: Tensor  # (P,)
    batch_index: Tensor  # (P,) int64
    counts: Sequence[int] | None = None  # of each image, where the host knows them

    def rois(self) -> Tensor:
        """(P, 5) or (P, 6): the boxes as poolers take them, with the image's index first."""
        return torch.cat([self.batch_index[:, None].to(self.boxes.dtype), self.boxes], dim=1)


class Detections(NamedTuple):
    """Classified boxes of all images, by image, and within an image by decreasing score."""

    boxes: Tensor  # (D, 4) XYXY, or (D, 5) rotated
    scores: Tensor  # (D,)
    classes: Tensor  # (D,) int64
    batch_index: Tensor  # (D,) int64
    source: Tensor  # (D,) int64, the row among the candidates that each came from
    counts: Sequence[int] | None = None  # of each image, where the host knows them

    def rois(self) -> Tensor:
        """As `Regions.rois`."""
        return Regions(self.boxes, self.scores, self.batch_index).rois()


class Kept(NamedTuple):
    """What suppression leaves of the boxes of all images."""

    rows: Tensor  # (K,) int64, by image, and within an image by decreasing score
    counts: list[int] | None  # of each image; None where a graph is recorded


def at_most(size: Any, other: Any) -> Any:
    """``min(size, other)`` that holds for other sizes too where a graph is recorded."""
    if isinstance(size, Tensor):  # what sizes are in a trace
        return torch.minimum(size, torch.as_tensor(other))
    if isinstance(size, torch.SymInt) or isinstance(other, torch.SymInt):
        return torch.sym_min(size, other)
    return min(size, other)


def at_least(size: Any, other: Any) -> Any:
    """``max(size, other)`` that holds for other sizes too where a graph is recorded."""
    if isinstance(size, Tensor):
        return torch.maximum(size, torch.as_tensor(other))
    if isinstance(size, torch.SymInt) or isinstance(other, torch.SymInt):
        return torch.sym_max(size, other)
    return max(size, other)


def sizes_as_tensor(image_sizes: Sequence[Any], like: Tensor) -> Tensor:
    """(N, 2) of (height, width), in the dtype and on the device of ``like``."""
    if image_sizes and isinstance(image_sizes[0], Tensor):  # what sizes are in a trace
        return torch.stack(list(image_sizes)).to(like)
    sizes = torch.tensor(list(image_sizes), dtype=like.dtype).reshape(-1, 2)
    return sizes.to(like.device, non_blocking=True)


def batch_index_of(counts: Sequence[int], device: torch.device) -> Tensor:
    """(sum of counts,) int64: 0 as often as the first count says, then 1, and so on."""
    parts = [
        torch.full((count,), index, dtype=torch.int64, device=device)
        for index, count in enumerate(counts)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=device)


def clipped_to_images(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes within their images, as ``clip`` of their structure does it for one image.

    Args:
        boxes: (P, 4) XYXY or (P, 5) rotated, finite.
        sizes: (P, 2), height and width of the image of each box.
    """
    return box_kind(boxes.shape[1]).clipped(boxes, sizes.flip(1).to(boxes.dtype))


def nonempty(boxes: Tensor, threshold: float = 0.0) -> Tensor:
    """(P,) bool: both sides of (P, 4) XYXY or (P, 5) rotated boxes are longer than that."""
    return (box_kind(boxes.shape[1]).sides(boxes) > threshold).all(dim=1)


def suppressed(
    boxes: Tensor,
    scores: Tensor,
    categories: Tensor,
    batch_index: Tensor,
    *,
    num_images: int,
    num_categories: int,
    nms_thresh: float,
    limit: int,
    valid: Tensor | None = None,
) -> Kept:
    """Non-maximum suppression within each category of each image, and the best that remain.

    Args:
        boxes: (P, 4) XYXY or (P, 5) rotated.
        scores: (P,).
        categories: (P,) int64 in [0, ``num_categories``): only boxes of one affect each other.
        batch_index: (P,) int64 in [0, ``num_images``).
        num_images: N.
        num_categories: how many there can be.
        nms_thresh: IoU above which the lower-scoring box is dropped.
        limit: boxes kept per image; negative for all.
        valid: (P,) bool, boxes that count; None for all.

    Returns:
        The rows that are left; equal scores in input order. The host waits for the device once,
        for how many they are, and where the kernel for rows that depend on values waits.
    """
    groups = batch_index * num_categories + categories
    if valid is not None:
        # Each alone in a group of its own: nothing that counts is affected.
        alone = -1 - torch.arange(boxes.shape[0], device=boxes.device)
        groups = torch.where(valid, groups, alone)
    kept = box_kind(boxes.shape[1]).batched_nms(boxes, scores, groups, nms_thresh)
    _bound(kept.shape[0])
    images = batch_index[kept]
    member = images[:, None] == torch.arange(num_images, device=boxes.device)
    if valid is not None:
        member = member & valid[kept][:, None]
    # The kept ones come by decreasing score: counting them gives ranks in their image, from 1.
    rank = (member.to(torch.int64).cumsum(dim=0) * member).sum(dim=1)
    chosen = rank > 0 if limit < 0 else (rank > 0) & (rank <= limit)
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        rows = chosen.nonzero()[:, 0]
        return Kept(kept[rows[images[rows].argsort(stable=True)]], None)
    counts: list[int] = (member & chosen[:, None]).sum(dim=0).tolist()
    by_image = images.where(chosen, num_images).argsort(stable=True)
    return Kept(kept[by_image[: sum(counts)]], counts)


def _bound(count: Any) -> None:
    """Say to an export how much a count can be: bounds of what follows have to fit their type."""
    if isinstance(count, torch.SymInt):
        torch._check(count <= _MOST_BOXES)


def rows_where(masks: Sequence[Tensor]) -> list[Tensor]:
    """The int64 rows at which each (R_i,) bool mask is true. The host waits for the device once."""
    if not masks:
        return []
    counts = torch.stack([mask.sum() for mask in masks]).tolist()
    return [
        torch.nonzero_static(mask, size=count)[:, 0]
        for mask, count in zip(masks, counts, strict=True)
    ]


def counts_per_image(found: Regions | Detections, num_images: int) -> Sequence[int]:
    """How many rows belong to each image; what is not known is asked of the device."""
    if found.counts is not None:
        return found.counts
    member = found.batch_index[:, None] == torch.arange(num_images, device=found.boxes.device)
    counts: list[int] = member.sum(dim=0).tolist()
    return counts


def detections_of_images(
    found: Detections, image_sizes: Sequence[tuple[int, int]], counts: Sequence[int]
) -> list[Instances]:
    """For each image its ``pred_boxes``, ``scores`` and ``pred_classes``.

    Args:
        found: the detections of all images.
        image_sizes: (height, width) of each image.
        counts: what `counts_per_image` returned for them.
    """
    kind = box_kind(found.boxes.shape[1])
    parts = (rows.split(list(counts)) for rows in (found.boxes, found.scores, found.classes))
    return [
        Instances(size, pred_boxes=kind.boxes(boxes), scores=scores, pred_classes=classes)
        for size, boxes, scores, classes in zip(image_sizes, *parts, strict=True)
    ]
