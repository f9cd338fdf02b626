"""Pixels by class, and the metrics of semantic segmentation made of them.

Source: Long et al., "Fully Convolutional Networks for Semantic Segmentation", 2015; Cheng et al.,
"Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from d2_ops.host import confusion_matrix, mask_boundary


class SemanticCounts:
    """Sums up images.

    Args:
        num_classes: K.
        ignore_label: annotated pixels of this label do not count; None counts all.
        boundary: also count the outlines of classes: the pixels within 2 % of the image's diagonal
            of another class or of the border.

    Attributes:
        confusion: (K, K) int64 pixels, predictions down, ground truths across.
        outlines: (2, K) int64 pixels of outlines in common, and of either.
    """

    def __init__(
        self, num_classes: int, ignore_label: int | None = 255, *, boundary: bool = False
    ) -> None:
        self._ignore_label = ignore_label
        self.boundary = boundary
        self.confusion: np.ndarray = np.zeros((num_classes, num_classes), np.int64)
        self.outlines: np.ndarray = np.zeros((2, num_classes), np.int64)

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            predicted: (H, W) int within 0 … K − 1.
            truth: (H, W) int.

        Raises:
            ValueError: if sizes differ, or a label that counts is out of range.
        """
        self.confusion += confusion_matrix(
            predicted, truth, len(self.confusion), ignore_label=self._ignore_label
        )
        if not self.boundary:
            return
        counted = np.ones(truth.shape, bool)
        if self._ignore_label is not None:
            counted = truth != self._ignore_label
        present = np.union1d(np.unique(predicted), np.unique(truth[counted])).astype(np.int64)
        for label in present.tolist():
            one, other = mask_boundary(np.stack((predicted == label, truth == label)))
            self.outlines[:, label] += (
                np.count_nonzero(one & other & counted),
                np.count_nonzero((one | other) & counted),
            )

    def scores(self, class_names: Sequence[str]) -> dict[str, float]:
        """Return the metrics in percent.

        Args:
            class_names: of the K classes.

        Returns:
            ``mIoU``, ``fwIoU`` (weighted by annotated pixels), ``IoU-{class}``, ``mACC``, ``pACC``
            (of all pixels) and ``ACC-{class}``; NaN for classes that are not annotated. With
            outlines ``mBoundaryIoU``, and of each class ``BoundaryIoU-{class}`` and
            ``min(IoU, B-Iou)-{class}``.
        """
        hits = self.confusion.diagonal().astype(np.float64)
        annotated, predicted = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        accuracy = _ratio(hits, annotated, annotated)
        iou = _ratio(hits, annotated + predicted - hits, annotated)
        total = annotated.sum()
        scores = {
            "mIoU": _mean(iou),
            "fwIoU": float(np.nansum(iou * annotated) / total) if total else np.nan,
            **_named("IoU", class_names, iou),
            "mACC": _mean(accuracy),
            "pACC": float(hits.sum() / total) if total else np.nan,
            **_named("ACC", class_names, accuracy),
        }
        if self.boundary:
            outline = _ratio(self.outlines[0], self.outlines[1], annotated)
            scores["mBoundaryIoU"] = _mean(outline)
            scores |= _named("BoundaryIoU", class_names, outline)
            scores |= _named("min(IoU, B-Iou)", class_names, np.minimum(iou, outline))
        return {name: 100 * value for name, value in scores.items()}


def _ratio(part: np.ndarray, whole: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """NaN for classes that are not annotated."""
    ratio: np.ndarray = np.full(len(part), np.nan)
    np.divide(part, whole, out=ratio, where=(annotated > 0) & (whole > 0))
    return ratio


def _named(metric: str, names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {f"{metric}-{name}": v for name, v in zip(names, values.tolist(), strict=True)}


def _mean(values: np.ndarray) -> float:
    """Of those that are not NaN; NaN if all are."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
