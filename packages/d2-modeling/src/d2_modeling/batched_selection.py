"""Choosing boxes of a whole batch: the boxes of all images stand below each other.

All is tensors in, tensors out, with nothing that depends on how many boxes there are, so that it
can be traced, exported and compiled, and waits for the host a fixed number of times, however many
images there are; but for `batch_index_of`, `rows_where`, `counts_per_image` and
`detections_of_images`, which lead from images apart to a batch and back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2_structures import Instances

from .box_kinds import box_kind
from .host_waits import is_recording, numbers_on, remember, sides_remain

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
    lasting: bool = False  # the host knows that `sides_remain` is true of all
    host_scores: Sequence[float] | None = None  # where the host knows them

    def rois(self) -> Tensor:
        """As `Regions.rois`."""
        return Regions(self.boxes, self.scores, self.batch_index).rois()


class Kept(NamedTuple):
    """What suppression leaves of the boxes of all images."""

    rows: Tensor
    """(P,) int64: those kept by image, and within an image by decreasing score; then the others."""
    counts: Tensor | None
    """(N,) int64, how many are kept of each image; None in a graph, which has no other rows."""

    def taken(self) -> Tensor:
        """(P,) bool: which of ``rows`` are kept."""
        if self.counts is None:
            return torch.ones_like(self.rows, dtype=torch.bool)
        return torch.arange(self.rows.shape[0], device=self.rows.device) < self.counts.sum()

    def on_host(self, *facts: Callable[[], Tensor]) -> tuple[Tensor, list[int] | None, list[float]]:
        """The rows that are kept, how many of each image, and what else is to be known.

        The host waits for the device once. Where a graph is recorded it does not, and neither
        counts nor facts are known.

        Args:
            facts: give scalars, or (F,) numbers that come one after another.
        """
        if self.counts is None:
            return self.rows, None, []
        # Doubles hold all of these numbers exactly.
        numbers = [part.double().view(-1) for part in (self.counts, *(fact() for fact in facts))]
        known = torch.cat(numbers).tolist()
        counts = [int(count) for count in known[: self.counts.shape[0]]]
        return self.rows[: sum(counts)], counts, known[len(counts) :]

    def all_last(self, boxes: Tensor, sizes: Tensor) -> Tensor:
        """Scalar bool: `sides_remain` is true of all boxes that are kept.

        Args:
            boxes: (P, 4) or (P, 5), those that were compared.
            sizes: (P, 2), height and width of the image of each.
        """
        return (sides_remain(boxes, sizes)[self.rows] | ~self.taken()).all()


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
    numbers = [side for size in image_sizes for side in size]
    return numbers_on(like.device, numbers, like.dtype).view(-1, 2)


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
        The rows that are left; equal scores in input order. The host waits for nothing.
    """
    groups = batch_index * num_categories + categories
    if valid is not None:
        if is_recording():  # a graph may hold a row for each group
            groups = groups.masked_fill(~valid, -1)
        else:  # each alone in a group of its own: nothing is compared in vain
            groups = torch.where(valid, groups, -1 - torch.arange(len(valid), device=boxes.device))
    kind = box_kind(boxes.shape[1])
    if is_recording():  # other runtimes know this one
        order = kind.batched_nms(boxes, scores, groups, nms_thresh)
        _bound(order.shape[0])
        counted = torch.ones_like(order, dtype=torch.bool)
    else:
        order, counted = kind.batched_nms_of_all(boxes, scores, groups, nms_thresh)
    if valid is not None:
        counted = counted & valid[order]
    images = batch_index[order]
    member = (images[:, None] == torch.arange(num_images, device=boxes.device)) & counted[:, None]
    # They come by decreasing score: counting them gives ranks in their image, from 1.
    rank = (member.to(torch.int64).cumsum(dim=0) * member).sum(dim=1)
    chosen = rank > 0 if limit < 0 else (rank > 0) & (rank <= limit)
    if is_recording():
        rows = chosen.nonzero()[:, 0]
        return Kept(order[rows[images[rows].argsort(stable=True)]], None)
    by_image = images.where(chosen, num_images).argsort(stable=True)
    return Kept(order[by_image], (member & chosen[:, None]).sum(dim=0))


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
    results = [
        Instances(size, pred_boxes=kind.boxes(boxes), scores=scores, pred_classes=classes)
        for size, boxes, scores, classes in zip(image_sizes, *parts, strict=True)
    ]
    known = iter(found.host_scores or ())
    for result, count in zip(results, counts, strict=True):
        if found.lasting:
            remember(result.pred_boxes.tensor, True)
        if found.host_scores is not None:
            remember(result.scores, list(itertools.islice(known, count)))
    return results
