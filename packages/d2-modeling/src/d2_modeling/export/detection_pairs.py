"""Which detections of a model and of a file of it are the same, and why others are in one only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..box_kinds import box_kind

__all__ = ["Pairs", "paired"]

_LARGE_SIDE = 256.0
"""Of boxes with a longer side than so many pixels differences count in proportion."""
_RIVAL_OVERLAP = 0.3
"""IoU from which on boxes are taken for such that suppression may choose between."""


class Pairs(NamedTuple):
    """The same detections on both sides.

    Attributes:
        rows: (P,) int64, of what was wanted.
        columns: (P,) int64, of what was got, for each of ``rows``.
        alone: how many detections of either side have no partner.
        unexplained: how many of these nothing speaks for: on the other side is neither a box of
            their class that might have been kept instead, nor one as near to the last that is kept.
    """

    rows: Tensor
    columns: Tensor
    alone: int
    unexplained: int


def paired(
    wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], *, within: float, score_margin: float
) -> Pairs:
    """Match the detections of two runs, each at most once.

    Two are the same if they have one image and one class, each is the other's nearest, and their
    boxes differ by no more than ``within``. Rounding moves a box by little; where two candidates
    score almost alike, it makes suppression keep the other, whose box may be elsewhere by any
    number of pixels: such a box is alone, and so is what it suppresses or no longer does.

    Args:
        wanted: ``boxes``, ``scores``, ``classes`` and ``batch_index``.
        got: likewise.
        within: largest difference of a coordinate, in pixels, of boxes up to 256 pixels; of
            larger ones in proportion to their longer side. Of rotated boxes also in degrees.
        score_margin: scores that differ by no more may come in either order.
    """
    distance = _distances(wanted["boxes"], got["boxes"])
    gap = (wanted["scores"].double()[:, None] - got["scores"].double()).abs()
    same_kind = torch.ones_like(distance, dtype=torch.bool)
    for name in ("classes", "batch_index"):
        same_kind &= wanted[name][:, None] == got[name]
    cost = (distance + gap).masked_fill(~same_kind, torch.inf)
    if cost.numel() == 0:
        none = torch.zeros(0, dtype=torch.int64, device=cost.device)
        alone = [torch.ones_like(each["scores"], dtype=torch.bool) for each in (wanted, got)]
        return Pairs(none, none, *_counts(wanted, got, alone, same_kind, score_margin))
    columns = cost.argmin(dim=1)
    rows = torch.arange(len(columns), device=cost.device)
    is_mutual = cost.argmin(dim=0)[columns] == rows
    is_same = is_mutual & same_kind[rows, columns] & (distance[rows, columns] <= within)
    rows, columns = rows[is_same], columns[is_same]
    alone = [torch.ones_like(each["scores"], dtype=torch.bool) for each in (wanted, got)]
    alone[0][rows], alone[1][columns] = False, False
    return Pairs(rows, columns, *_counts(wanted, got, alone, same_kind, score_margin))


def _distances(wanted: Tensor, got: Tensor) -> Tensor:
    """(M, N) largest difference of a coordinate, of large boxes in units of their size."""
    sides = box_kind(wanted.shape[1]).sides(wanted.double()).amax(dim=1)
    unit = (sides / _LARGE_SIDE).clamp(min=1)
    distance = torch.cdist(wanted.double(), got.double(), p=torch.inf) / unit[:, None]
    # That maximum passes over NaN, which is as far as can be.
    known = [torch.isfinite(boxes).all(dim=1) for boxes in (wanted, got)]
    return distance.where(known[0][:, None] & known[1], torch.inf)


def _counts(
    wanted: Mapping[str, Tensor],
    got: Mapping[str, Tensor],
    alone: list[Tensor],
    same_kind: Tensor,
    score_margin: float,
) -> tuple[int, int]:
    kind: Any = box_kind(wanted["boxes"].shape[1])
    boxes = [kind.boxes(each["boxes"].float()) for each in (wanted, got)]
    rival = same_kind & (kind.pairwise_iou(*boxes) >= _RIVAL_OVERLAP)
    explained = (
        rival.any(dim=1) | _is_last(wanted, got, score_margin),
        rival.any(dim=0) | _is_last(got, wanted, score_margin),
    )
    unexplained = sum(int((a & ~e).sum()) for a, e in zip(alone, explained, strict=True))
    return sum(int(each.sum()) for each in alone), unexplained


def _is_last(found: Mapping[str, Tensor], other: Mapping[str, Tensor], margin: float) -> Tensor:
    """Whether each detection scores no higher than the last of its image on the other side."""
    member = found["batch_index"][:, None] == other["batch_index"]
    scores = other["scores"].expand_as(member).masked_fill(~member, torch.inf)
    if scores.shape[1] == 0:
        return torch.zeros_like(found["scores"], dtype=torch.bool)
    last = scores.amin(dim=1)
    return torch.isfinite(last) & (found["scores"] <= last + margin)
