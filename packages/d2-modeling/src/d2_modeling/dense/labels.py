"""Which anchor is responsible for which ground truth box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from d2_structures import Boxes, Instances

from ..matcher import classes_of_matches, match_boxes

Labels = tuple[list[Tensor], list[Tensor]]
"""For each image (R,) classes and (R, 4) boxes of its R anchors."""

# A level is responsible for boxes whose farthest side is this many strides away.
_SCALE_RANGE = (4.0, 8.0)


@torch.no_grad()
def labels_by_overlap(
    anchors: Sequence[Boxes],
    gt_instances: Sequence[Instances],
    *,
    matcher: Callable[[Tensor], tuple[Tensor, Tensor]],
    num_classes: int,
) -> Labels:
    """Give anchors the class and box of the ground truth they overlap most, as RetinaNet does.

    Args:
        anchors: anchors of each level, R in all.
        gt_instances: for each image with ``gt_boxes`` and ``gt_classes``.
        matcher: labels anchors by their overlap with ground truth, see `Matcher`.
        num_classes: number of classes K.

    Returns:
        For each image (R,) classes: K for background, -1 for ignored; and (R, 4) ground truth
        boxes, meaningful for foreground.
    """
    all_anchors = Boxes.cat(list(anchors))

    def assigned(gt: Instances) -> tuple[Tensor, Tensor]:
        matched_idxs, matched_labels = match_boxes(matcher, gt.gt_boxes, all_anchors)
        return matched_idxs, classes_of_matches(
            matched_idxs, matched_labels, gt.gt_classes, num_classes
        )

    return _labels_of_images(all_anchors, gt_instances, num_classes, assigned)


@torch.no_grad()
def labels_by_place(
    anchors: Sequence[Boxes],
    gt_instances: Sequence[Instances],
    *,
    radius: float,
    num_classes: int,
) -> Labels:
    """Give pixels the smallest ground truth box around them that suits their level, as FCOS does.

    A pixel is responsible for a box if it lies inside, within ``radius`` strides of the box's
    centre, and the farthest side is 4 to 8 strides away; on the first level it may be nearer, on
    the last one farther.

    Args:
        anchors: for each level one square of the stride's size around every pixel, R in all.
        gt_instances: for each image with ``gt_boxes`` and ``gt_classes``.
        radius: how far from a box's centre pixels are foreground, in strides.
        num_classes: number of classes K.

    Returns:
        For each image (R,) classes, K for background; and (R, 4) ground truth boxes, meaningful
        for foreground.

    Source: Tian et al., "FCOS", 2019, section 3.2, with the later centre sampling.
    """
    all_anchors = Boxes.cat(list(anchors))
    strides, lower, upper = _scale_ranges(anchors)
    centres = all_anchors.get_centers()

    def assigned(gt: Instances) -> tuple[Tensor, Tensor]:
        offsets = (centres[None] - gt.gt_boxes.get_centers()[:, None]).abs().amax(dim=2)
        low, high = gt.gt_boxes.tensor[:, None].split(2, dim=2)
        distances = torch.cat([centres[None] - low, high - centres[None]], dim=2)
        farthest = distances.amax(dim=2)
        responsible = (
            (offsets < radius * strides)
            & (distances.amin(dim=2) > 0)
            & (farthest > lower)
            & (farthest < upper)
        )
        areas = gt.gt_boxes.area()[:, None].expand_as(responsible)
        smallest, matched_idxs = areas.where(responsible, torch.inf).min(dim=0)
        classes = gt.gt_classes[matched_idxs]
        return matched_idxs, classes.where(smallest.isfinite(), num_classes)

    return _labels_of_images(all_anchors, gt_instances, num_classes, assigned)


def _scale_ranges(anchors: Sequence[Boxes]) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) strides, and the bounds of how far the farthest side of a box may be."""
    strides = torch.cat([level.tensor[:, 2] - level.tensor[:, 0] for level in anchors])
    lower, upper = strides * _SCALE_RANGE[0], strides * _SCALE_RANGE[1]
    lower[: len(anchors[0])] = 0.0
    upper[len(upper) - len(anchors[-1]) :] = torch.inf
    return strides, lower, upper


def _labels_of_images(
    anchors: Boxes,
    gt_instances: Sequence[Instances],
    num_classes: int,
    assigned: Callable[[Instances], tuple[Tensor, Tensor]],
) -> Labels:
    """What ``assigned`` says of each image's ground truth: (R,) indices and (R,) classes."""
    labels, boxes = [], []
    for gt in gt_instances:
        if len(gt) == 0:
            labels.append(gt.gt_classes.new_full((len(anchors),), num_classes))
            boxes.append(torch.zeros_like(anchors.tensor))
            continue
        matched_idxs, classes = assigned(gt)
        labels.append(classes)
        boxes.append(gt.gt_boxes.tensor[matched_idxs])
    return labels, boxes
