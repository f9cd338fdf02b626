"""Comparisons that the kernels of d2-ops do not make themselves: outlines and turned boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2_ops.host import boundary_iou, rle_iou
from d2_structures import RotatedBoxes, pairwise_iou_rotated

Rows = np.ndarray
Overlaps = Callable[[Rows, Rows], np.ndarray]


def by_outline(
    found: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mapping[str, Any]],
    crowd: np.ndarray,
    ratio: float,
) -> Overlaps:
    """Compare masks by the lesser of their overlap and that of their outlines.

    Args:
        found: D masks as run lengths.
        wanted: G masks as run lengths.
        crowd: (G,) bool.
        ratio: width of an outline as a share of the image's diagonal.

    Returns:
        A function of (P,) rows of ``found`` and (P,) of ``wanted``.

    Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
    2021.
    """

    def matrix(detections: Rows, truths: Rows) -> np.ndarray:
        masks = [found[row] for row in detections], [wanted[row] for row in truths]
        crowded = crowd[truths]
        outlines = boundary_iou(*masks, crowded, ratio)
        least: np.ndarray = np.minimum(rle_iou(*masks, crowded), outlines)
        return least

    return _in_blocks(matrix)


def by_rotated_box(found: np.ndarray, wanted: np.ndarray, crowd: np.ndarray) -> Overlaps:
    """Compare boxes that may be turned.

    Args:
        found: (D, 5) float, centre x, centre y, width, height, degrees.
        wanted: (G, 5) likewise.
        crowd: (G,) bool: objects that count by the share of the detection that is in them.

    Returns:
        A function of (P,) rows of ``found`` and (P,) of ``wanted``.
    """
    boxes, truth_boxes = (
        torch.as_tensor(array.reshape(-1, 5), dtype=torch.float32) for array in (found, wanted)
    )

    def matrix(detections: Rows, truths: Rows) -> np.ndarray:
        one, other = boxes[detections], truth_boxes[truths]
        overlaps = pairwise_iou_rotated(RotatedBoxes(one), RotatedBoxes(other)).double()
        areas, truth_areas = ((b[:, 2] * b[:, 3]).double() for b in (one, other))
        common = overlaps * (areas[:, None] + truth_areas) / (1 + overlaps)
        shares = common / areas[:, None].clamp(min=torch.finfo(torch.float64).tiny)
        chosen: np.ndarray = torch.where(
            torch.as_tensor(crowd[truths]), shares.clamp(max=1), overlaps
        ).numpy()
        return chosen

    return _in_blocks(matrix)


def _in_blocks(matrix: Callable[[Rows, Rows], np.ndarray]) -> Overlaps:
    """Compare all of a block's detections and ground truths at once.

    A block is what is of one image and class, where each detection is paired with each object.
    """

    def compare(detections: Rows, truths: Rows) -> np.ndarray:
        overlaps = np.empty(len(detections))
        for rows in _blocks(detections, truths):
            few, place = np.unique(detections[rows], return_inverse=True)
            few_truths, truth_place = np.unique(truths[rows], return_inverse=True)
            overlaps[rows] = matrix(few, few_truths)[place, truth_place]
        return overlaps

    return compare


def _blocks(detections: Rows, truths: Rows) -> list[Rows]:
    """Rows of the pairs of each block: those whose detections share their least ground truth."""
    if len(detections) == 0:
        return []
    count = int(detections.max()) + 1
    least = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(least, detections, truths)
    keys = least[detections]
    order = np.argsort(keys, kind="stable")
    return list(np.split(order, np.flatnonzero(np.diff(keys[order])) + 1))
