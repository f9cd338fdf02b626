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

class CocoGroups:
    def __init__(
        self,
        images: NDArray[np.int64],
        categories: NDArray[np.int64],
        scores: NDArray[np.float64],
        truth_images: NDArray[np.int64],
        truth_categories: NDArray[np.int64],
        image_count: int,
        category_count: int,
        use_categories: bool,
        limit: int,
        threads: int,
    ) -> None: ...
    @property
    def pairs(self) -> int: ...
    def fill_pairs(
        self, detections: NDArray[np.int64], ground_truths: NDArray[np.int64]
    ) -> None: ...
    def evaluate_boxes(
        self,
        evaluation: CocoEvaluation,
        boxes: NDArray[np.float64],
        truth_boxes: NDArray[np.float64],
    ) -> None: ...
    def evaluate_masks(
        self,
        evaluation: CocoEvaluation,
        text: NDArray[np.uint8],
        ends: NDArray[np.int64],
        sizes: NDArray[np.int64],
        truth_text: NDArray[np.uint8],
        truth_ends: NDArray[np.int64],
        truth_sizes: NDArray[np.int64],
    ) -> None: ...
    def evaluate_overlaps(
        self, evaluation: CocoEvaluation, overlaps: NDArray[np.float64]
    ) -> None: ...

class CocoEvaluation:
    def __init__(
        self,
        areas: NDArray[np.float64],
        truth_areas: NDArray[np.float64],
        crowd: NDArray[np.uint8],
        ignored: NDArray[np.uint8],
        nameless: NDArray[np.uint8],
        thresholds: NDArray[np.float64],
        recall_thresholds: NDArray[np.float64],
        area_ranges: NDArray[np.float64],
        limits: NDArray[np.int64],
        precision: NDArray[np.float64],
        recall: NDArray[np.float64],
        scores: NDArray[np.float64],
    ) -> None: ...

def mask_areas(
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    sizes: NDArray[np.int64],
    areas: NDArray[np.int64],
    threads: int,
) -> None: ...
def label_pairs(
    first: NDArray[np.integer], second: NDArray[np.integer], threads: int
) -> NDArray[np.int64]: ...
def confusion(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    counts: NDArray[np.int64],
    has_ignored: bool,
    ignored: int,
    threads: int,
) -> int: ...
