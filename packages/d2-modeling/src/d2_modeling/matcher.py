"""Assignment of ground truth to predicted boxes by overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from d2_ops import match_anchors
from d2_structures import Boxes

from .box_kinds import box_kind
from .host_waits import numbers_on


class Matcher:
    """Match each prediction to the ground truth it overlaps most, and label the match.

    With ``thresholds=[0.3, 0.7]`` and ``labels=[0, -1, 1]`` a prediction whose best
    overlap is below 0.3 is background, one in [0.3, 0.7) is ignored and one from 0.7 on
    is foreground.

    Args:
        thresholds: increasing positive bounds between the labels.
        labels: one more than thresholds, each -1 (ignored), 0 (background) or
            1 (foreground).
        allow_low_quality_matches: also make foreground, for each ground truth, of the
            predictions that overlap it most, however little that is.

    Raises:
        ValueError: if counts, order or values are wrong.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        labels: Sequence[int],
        allow_low_quality_matches: bool = False,
    ) -> None:
        thresholds, labels = list(thresholds), list(labels)
        if not thresholds or thresholds[0] <= 0 or thresholds != sorted(thresholds):
            raise ValueError(f"thresholds have to be positive and increasing, got {thresholds}")
        if len(labels) != len(thresholds) + 1 or not set(labels) <= {-1, 0, 1}:
            raise ValueError(
                f"labels wants {len(thresholds) + 1} values out of -1, 0 and 1, got {labels}"
            )
        self.thresholds = thresholds
        self.labels = labels
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Match predictions to ground truth.

        Args:
            match_quality_matrix: (M, N) overlaps, >= 0, of M ground truths with N
                predictions. M may be 0.

        Returns:
            (N,) int64, the index of the best ground truth of each prediction (0 if there
            is none), and (N,) int8, its label.

        Raises:
            ValueError: if the matrix is not two-dimensional.
        """
        matrix = match_quality_matrix
        if matrix.dim() != 2:
            raise ValueError(f"wanted a (M, N) matrix, got shape {tuple(matrix.shape)}")
        if matrix.numel() == 0:
            matches = matrix.new_zeros(matrix.shape[1], dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        best_quality, matches = matrix.max(dim=0)
        bounds = numbers_on(matrix.device, self.thresholds, matrix.dtype)
        by_bin = numbers_on(matrix.device, self.labels, torch.int8)
        match_labels = by_bin[torch.bucketize(best_quality, bounds, right=True)]
        if self.allow_low_quality_matches:
            best_of_each_gt = matrix.amax(dim=1, keepdim=True)
            match_labels.masked_fill_((matrix == best_of_each_gt).any(dim=0), 1)
        return matches, match_labels


def match_boxes(
    matcher: Callable[[Tensor], tuple[Tensor, Tensor]], gt_boxes: Boxes, boxes: Boxes
) -> tuple[Tensor, Tensor]:
    """What ``matcher(pairwise_iou(gt_boxes, boxes))`` gives, without the matrix for a `Matcher`.

    Args:
        matcher: a `Matcher`, or anything that is called like one.
        gt_boxes: M ground truth boxes, axis-aligned or rotated.
        boxes: N anchors or proposals of the same kind.

    Returns:
        (N,) int64 indices and (N,) int8 labels, see `Matcher`.
    """
    box_dim = boxes.tensor.shape[1]
    if box_dim != 4 or type(matcher) is not Matcher:
        return matcher(box_kind(box_dim).pairwise_iou(gt_boxes, boxes))
    matches = match_anchors(
        gt_boxes.tensor,
        boxes.tensor,
        matcher.thresholds,
        matcher.labels,
        matcher.allow_low_quality_matches,
    )
    return matches.matched_idxs, matches.labels


def classes_of_matches(
    matched_idxs: Tensor, matched_labels: Tensor, gt_classes: Tensor, num_classes: int
) -> Tensor:
    """The class of each prediction out of its match.

    Args:
        matched_idxs: (N,) index of each prediction's ground truth, see `Matcher`.
        matched_labels: (N,) label of the match: 1, 0 or -1.
        gt_classes: (M,) class of each ground truth; M may be 0.
        num_classes: the class of the background.

    Returns:
        (N,) int64: ``num_classes`` for background, -1 for ignored.
    """
    if gt_classes.numel() == 0:
        return torch.full_like(matched_idxs, num_classes)
    classes = gt_classes[matched_idxs]
    classes = classes.masked_fill(matched_labels == 0, num_classes)
    return classes.masked_fill(matched_labels == -1, -1)
