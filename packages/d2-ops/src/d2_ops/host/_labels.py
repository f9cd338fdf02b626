"""Label maps compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._host_kernels import kernels as _host

_KERNEL_TYPES = (np.uint8, np.uint16, np.int32, np.int64)


class SegmentIntersections(NamedTuple):
    """Pairs of segments that share pixels, by ascending ids.

    Attributes:
        ground_truth_ids: (P,) int64.
        prediction_ids: (P,) int64.
        areas: (P,) int64, the pixels that they share.
    """

    ground_truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    areas: NDArray[np.int64]


def panoptic_intersections(
    ground_truth: ArrayLike, prediction: ArrayLike, *, num_threads: int = 0
) -> SegmentIntersections:
    """Count the pixels that segments of two label maps share.

    Every label is counted, also one that means void: leave it out of the result where it is to be.
    The area of a segment is the sum over its pairs.

    Args:
        ground_truth: (H, W) int, the id of each pixel's segment; any shape will do.
        prediction: the same of the predicted segments.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if the shapes differ.
    """
    first, second = _labels("ground_truth", ground_truth), _labels("prediction", prediction)
    _check_same_shape("ground_truth", first, "prediction", second)
    pairs = _host.label_pairs(first.ravel(), second.ravel(), num_threads)
    return SegmentIntersections(*(np.ascontiguousarray(column) for column in pairs.T))


def confusion_matrix(
    predictions: ArrayLike | Sequence[ArrayLike],
    ground_truths: ArrayLike | Sequence[ArrayLike],
    num_classes: int,
    *,
    ignore_label: int | None = None,
    num_threads: int = 0,
) -> NDArray[np.int64]:
    """Count pixels by predicted and true class.

    Args:
        predictions: (H, W) int within 0 … ``num_classes`` − 1, any shape will do; or a list of
            such maps, whose pixels are all counted.
        ground_truths: the true classes, as many maps of the same sizes.
        num_classes: K.
        ignore_label: pixels whose true label is this do not count, whatever is predicted there.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        (K, K) int64, predictions down, ground truths across.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if sizes or numbers of maps differ, or a label that counts is out of range.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    counts = np.zeros((num_classes, num_classes), np.int64)
    found = predictions if isinstance(predictions, list | tuple) else [predictions]
    wanted = ground_truths if isinstance(ground_truths, list | tuple) else [ground_truths]
    if len(found) != len(wanted):
        raise ValueError(f"{len(found)} maps in predictions but {len(wanted)} in ground_truths")
    for index, maps in enumerate(zip(found, wanted, strict=True)):
        names = f"predictions[{index}]", f"ground_truths[{index}]"
        first, second = (_labels(name, labels) for name, labels in zip(names, maps, strict=True))
        _check_same_shape(names[0], first, names[1], second)
        ignored = (ignore_label is not None, ignore_label or 0)
        bad = _host.confusion(first.ravel(), second.ravel(), counts, *ignored, num_threads)
        if bad >= 0:
            place = tuple(int(i) for i in np.unravel_index(bad, first.shape))
            raise ValueError(
                f"pixel {place} has the label {first[place]} in {names[0]} and {second[place]} in "
                f"{names[1]}; both must be within 0 … {num_classes - 1}"
                + ("" if ignore_label is None else f", or the latter {ignore_label} to be ignored")
            )
    return counts


def _labels(name: str, labels: ArrayLike) -> NDArray[np.integer]:
    """As one of the types that the kernels know."""
    array = np.asarray(labels)
    if array.size == 0:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    if array.dtype not in _KERNEL_TYPES:
        if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name} has the label {array.max()}, must be below 2**63")
        array = array.astype(np.int64)
    return np.ascontiguousarray(array)


def _check_same_shape(
    name: str, first: NDArray[np.integer], other_name: str, second: NDArray[np.integer]
) -> None:
    if first.shape != second.shape:
        raise ValueError(f"{name} is {first.shape} but {other_name} {second.shape}")
