"""COCO's object keypoint similarity.

In NumPy rather than C++: its ``exp`` may differ from the C library's in the last bit, and the
similarities are to equal pycocotools', which uses it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

_PAIRS_AT_ONCE = 1 << 15


def keypoint_similarities(
    found: _Floats,
    wanted: _Floats,
    wanted_boxes: _Floats,
    wanted_areas: _Floats,
    sigmas: _Floats,
    pairs: tuple[_Ints, _Ints],
) -> _Floats:
    """Compare pairs of a detection and a ground truth.

    The mean over the labelled keypoints of exp(−d² / (2 area (2 sigma)²)). Where none is labelled,
    d is how far a keypoint lies outside the box grown by its size on every side.

    Args:
        found: (D, K, 3) x, y in pixels and a score, which does not count.
        wanted: (G, K, 3) x, y in pixels and visibility, labelled where above 0.
        wanted_boxes: (G, 4) x, y, width, height.
        wanted_areas: (G,) square pixels.
        sigmas: (K,).
        pairs: (P,) rows of ``found`` and (P,) of ``wanted``.

    Returns:
        (P,) within [0, 1].

    Source: https://cocodataset.org/#keypoints-eval
    """
    labelled = wanted[:, :, 2] > 0
    counts = np.count_nonzero(labelled, axis=1)
    labelled_first = np.argsort(~labelled, axis=1, kind="stable")
    variances = (sigmas * 2) ** 2
    similarities = np.empty(len(pairs[0]))
    # Pairs of as many terms at a time, so that each sum is of a contiguous row: NumPy then adds
    # in the order in which it adds the terms of one pair.
    for count in np.unique(counts):
        rows = np.flatnonzero(counts[pairs[1]] == count)
        for begin in range(0, len(rows), _PAIRS_AT_ONCE):
            chunk = rows[begin : begin + _PAIRS_AT_ONCE]
            d, g = pairs[0][chunk], pairs[1][chunk]
            columns = labelled_first[g, : count or wanted.shape[1]]
            points = found[d[:, None], columns, :2]
            if count:
                offsets = points - wanted[g[:, None], columns, :2]
            else:
                corner, size = wanted_boxes[g, None, :2], wanted_boxes[g, None, 2:]
                before = np.maximum(0, (corner - size) - points)
                offsets = before + np.maximum(0, points - (corner + size * 2))
            distances = offsets[..., 0] ** 2 + offsets[..., 1] ** 2
            scale = (wanted_areas[g] + np.spacing(1))[:, None]
            with np.errstate(over="ignore", under="ignore"):
                terms = np.exp(-(distances / variances[columns] / scale / 2))
            similarities[chunk] = terms.sum(axis=1) / terms.shape[1]
    return similarities
