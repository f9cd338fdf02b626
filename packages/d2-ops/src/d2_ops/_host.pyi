from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
def columns_to_counts(columns: NDArray[np.uint8]) -> bytes: ...
def counts_to_mask(counts: bytes, mask: NDArray[np.uint8]) -> None: ...
def counts_area(counts: bytes, height: int, width: int) -> int: ...
def lengths_to_counts(lengths: Sequence[int], height: int, width: int) -> bytes: ...
def blend_maps(
    planes: NDArray[np.uint8],
    maps: Sequence[NDArray[np.uint8]],
    corners: NDArray[np.int64],
    fills: NDArray[np.uint16],
    edges: NDArray[np.uint16],
    threads: int,
) -> None: ...
def fill_rectangles(
    planes: NDArray[np.uint8],
    rectangles: NDArray[np.int64],
    inks: NDArray[np.uint16],
    threads: int,
) -> None: ...
def stroke_paths(
    planes: NDArray[np.uint8],
    segments: NDArray[np.float64],
    ends: NDArray[np.int64],
    widths: NDArray[np.float64],
    inks: NDArray[np.uint16],
    threads: int,
) -> None: ...
def soften_mask(
    mask: NDArray[np.uint8], coverage: NDArray[np.uint8], left: bool, top: bool
) -> None: ...
