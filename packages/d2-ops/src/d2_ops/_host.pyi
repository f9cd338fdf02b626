from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

POLYGON_LIMIT: float

def fill_polygons(
    points: NDArray[np.float64], ends: NDArray[np.int64], mask: NDArray[np.uint8]
) -> None: ...
def polygons_to_counts(
    points: NDArray[np.float64], ends: NDArray[np.int64], height: int, width: int
) -> bytes: ...
def crop_polygons(
    points: NDArray[np.float64],
    ends: NDArray[np.int64],
    instance_ends: NDArray[np.int64],
    boxes: NDArray[np.float32] | NDArray[np.float64],
    masks: NDArray[np.uint8],
    threads: int,
) -> None: ...
def mask_to_counts(mask: NDArray[np.uint8]) -> bytes: ...
def counts_to_mask(counts: bytes, mask: NDArray[np.uint8]) -> None: ...
def counts_area(counts: bytes, height: int, width: int) -> int: ...
def lengths_to_counts(lengths: Sequence[int], height: int, width: int) -> bytes: ...
