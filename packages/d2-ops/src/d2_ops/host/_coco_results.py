"""Files in COCO's result format as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._host_kernels import kernels as _host
from ._packed_rle import PackedRLEs


class CocoResults(NamedTuple):
    """N detections. What they do not have is None.

    Attributes:
        images: (N,) int64, the dataset's image ids.
        categories: (N,) int64, the dataset's category ids.
        scores: (N,) float64.
        boxes: (N, B) float64, ``bbox``.
        masks: N masks, ``segmentation``; their counts are not looked at.
        keypoints: (N, P) float64, ``keypoints``.
    """

    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None
    masks: PackedRLEs | None = None
    keypoints: NDArray[np.float64] | None = None


def read_coco_results(
    json: bytes | memoryview | NDArray[np.uint8], *, num_threads: int = 0
) -> CocoResults | None:
    """Read results without making a Python object of each.

    Other fields are passed over. A full parser is needed for what is not regular: other ids than
    integers, fields that only some results have, lists of different lengths, polygons or plain run
    lengths as masks, numbers beyond float64, NaN, and what is no JSON at all.

    Args:
        json: the text of a file in COCO's result format.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Returns:
        The results in their order, or None for what is not regular.
    """
    text = np.frombuffer(json, np.uint8)
    columns = _host.coco_results_of(text, num_threads)
    if columns is None:
        return None
    masks = columns.pop("masks", None)
    return CocoResults(**columns, masks=None if masks is None else PackedRLEs(*masks))
