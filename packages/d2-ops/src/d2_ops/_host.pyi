from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def chosen_kernels() -> str: ...
def fill_polygons(
    points: NDArray[np.float64],
    ends: NDArray[np.int64],
    instance_ends: NDArray[np.int64],
    masks: NDArray[np.uint8],
    threads: int,
) -> None: ...
def polygons_to_counts(
    points: NDArray[np.float64],
    ends: NDArray[np.int64],
    instance_ends: NDArray[np.int64],
    height: int,
    width: int,
    threads: int,
) -> list[bytes]: ...
def crop_polygons(
    points: NDArray[np.float64],
    ends: NDArray[np.int64],
    instance_ends: NDArray[np.int64],
    boxes: NDArray[np.float32] | NDArray[np.float64],
    masks: NDArray[np.uint8],
    threads: int,
) -> None: ...
def masks_to_counts(masks: NDArray[np.uint8], columns: bool, threads: int) -> list[bytes]: ...
def pack_masks(
    masks: NDArray[np.uint8], columns: bool, ends: NDArray[np.int64], threads: int
) -> bytes: ...
def rles_to_masks(rles: list[Any], masks: NDArray[np.uint8], threads: int) -> None: ...
def rle_areas(rles: list[Any], areas: NDArray[np.int64], threads: int) -> None: ...
def rle_boxes(rles: list[Any], boxes: NDArray[np.float64], threads: int) -> None: ...
def compress_rles(rles: list[Any], threads: int) -> list[Any]: ...
def pack_rles(rles: list[Any], ends: NDArray[np.int64], sizes: NDArray[np.int64]) -> bytes: ...
def rle_size(rle: Any) -> tuple[int, int]: ...
def merge_rles(rles: list[Any], intersect: bool, threads: int) -> bytes: ...
def rle_boundaries(rles: list[Any], ratio: float, threads: int) -> list[bytes]: ...
def mask_boundaries(
    masks: NDArray[np.uint8], ratio: float, out: NDArray[np.uint8], threads: int
) -> None: ...
def rle_ious(
    detections: list[Any],
    truths: list[Any],
    crowd: NDArray[np.uint8],
    ratio: float,
    out: NDArray[np.float64],
    threads: int,
) -> None: ...
def box_ious(
    boxes: NDArray[np.float64],
    truths: NDArray[np.float64],
    crowd: NDArray[np.uint8],
    out: NDArray[np.float64],
    threads: int,
) -> None: ...
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
        areas_given: bool,
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
def coco_results_of(json: NDArray[np.uint8], threads: int) -> dict[str, Any] | None: ...
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
def bitmap_boxes(masks: NDArray[np.uint8], boxes: NDArray[np.float64], threads: int) -> None: ...
def crop_bitmaps(
    masks: NDArray[np.uint8], boxes: NDArray[np.float32], out: NDArray[np.uint8], threads: int
) -> None: ...
def crop_rles(
    rles: list[Any], boxes: NDArray[np.float32], out: NDArray[np.uint8], threads: int
) -> None: ...
def find_keypoints(
    maps: NDArray[np.float32], rois: NDArray[np.float32], out: NDArray[np.float32], threads: int
) -> None: ...
def resize_picture(picture: NDArray[np.uint8], planes: NDArray[np.uint8], threads: int) -> None: ...
