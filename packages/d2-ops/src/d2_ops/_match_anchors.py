"""Assignment of anchors to ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ._arguments import check_columns, check_device, check_floating, describe
from ._library import operators, qualified

_ops = operators()
_MOST_THRESHOLDS = 16


class AnchorMatches(NamedTuple):
    """What ``match_anchors`` finds for N anchors."""

    matched_idxs: Tensor  # (N,) int64
    labels: Tensor  # (N,) int8
    quality: Tensor  # (N,) float32, or float64 for float64 boxes


def match_anchors(
    gt_boxes: Tensor,
    anchors: Tensor,
    thresholds: Sequence[float],
    labels: Sequence[int],
    allow_low_quality_matches: bool = False,
) -> AnchorMatches:
    """Match each anchor to the ground truth box it overlaps most, and label the match.

    What ``pairwise_iou(gt_boxes, anchors)``, maxima over it and comparisons with them give, without
    the matrix: memory for O(N) values. Anchors in the order of their positions go fastest.
    float16 and bfloat16 boxes are compared in float32. Not differentiable.

    Args:
        gt_boxes: (M, 4) floating, x1, y1, x2, y2 in pixels. M may be 0.
        anchors: (N, 4) of the same dtype.
        thresholds: at most 16 increasing positive bounds between the labels.
        labels: one more than thresholds, each -1 (ignored), 0 (background) or 1 (foreground): the
            i-th for overlaps from threshold i - 1, included, to threshold i.
        allow_low_quality_matches: also label 1, for each ground truth, all anchors that overlap it
            most, however little that is. A ground truth that no anchor overlaps labels them all.

    Returns:
        ``matched_idxs``, the best ground truth of each anchor, the first of equals, 0 if M is 0;
        ``labels``, ``labels[0]`` if M is 0; ``quality``, the IoU with the match, 0 if M is 0. NaN
        boxes have NaN overlaps, which count as largest and reach every threshold.

    Raises:
        TypeError: if the boxes are not floating tensors, or their dtypes differ.
        ValueError: if shapes, devices, thresholds or labels are wrong.
    """
    for name, boxes in (("gt_boxes", gt_boxes), ("anchors", anchors)):
        check_floating(name, boxes)
        check_columns(name, boxes, 4)
    if gt_boxes.dtype != anchors.dtype:
        raise TypeError(
            f"gt_boxes must have the dtype of anchors, {anchors.dtype}, got {describe(gt_boxes)}"
        )
    check_device("gt_boxes", gt_boxes, "anchors", anchors)
    _check_bins(thresholds, labels)
    return AnchorMatches(
        *_ops.match_anchors(
            gt_boxes.detach(),
            anchors.detach(),
            list(thresholds),
            list(labels),
            allow_low_quality_matches,
        )
    )


def _check_bins(thresholds: Sequence[float], labels: Sequence[int]) -> None:
    """Raise ValueError unless these can label overlaps."""
    bounds = [0.0, *thresholds, math.inf]
    # A comparison with NaN is false.
    in_order = all(low <= high for low, high in pairwise(bounds))
    if not in_order or 0 in thresholds or not 1 <= len(thresholds) <= _MOST_THRESHOLDS:
        raise ValueError(
            f"thresholds must be 1 to {_MOST_THRESHOLDS} positive increasing numbers, "
            f"got {list(thresholds)}"
        )
    if len(labels) != len(thresholds) + 1 or not set(labels) <= {-1, 0, 1}:
        raise ValueError(
            f"labels must be {len(thresholds) + 1} values out of -1, 0 and 1, got {list(labels)}"
        )


@torch.library.register_fake(qualified("match_anchors"))
def _(
    gt_boxes: Tensor,
    anchors: Tensor,
    thresholds: list[float],
    labels: list[int],
    allow_low_quality_matches: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.float64 if anchors.dtype == torch.float64 else torch.float32
    count = anchors.shape[0]
    return (
        anchors.new_empty(count, dtype=torch.int64),
        anchors.new_empty(count, dtype=torch.int8),
        anchors.new_empty(count, dtype=wide),
    )
