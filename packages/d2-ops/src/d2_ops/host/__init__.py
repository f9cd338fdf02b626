"""Mask and evaluation kernels for NumPy arrays. Imports no torch, holds no lock while it computes.

Bit for bit what pycocotools computes: polygons become the pixels, and masks the run lengths, that
COCO's tools make of them; so are the precision and recall of detections. An RLE is a dict
``{"size": [height, width], "counts": bytes}``. Coordinates are continuous pixels, (0, 0) the
corner of the first one.
"""

from ._coco_evaluation import CocoPrecisionRecall, coco_evaluate
from ._coco_objects import CocoDetections, CocoGroundTruths
from ._labels import SegmentIntersections, confusion_matrix, panoptic_intersections
from ._packed_rle import PackedRLEs, pack_rles, packed_rle_areas
from ._polygons import crop_and_resize_polygons, polygons_to_bitmask, polygons_to_rle
from ._rle import RLE, rle_area, rle_decode, rle_encode

__all__ = [
    "RLE",
    "CocoDetections",
    "CocoGroundTruths",
    "CocoPrecisionRecall",
    "PackedRLEs",
    "SegmentIntersections",
    "coco_evaluate",
    "confusion_matrix",
    "crop_and_resize_polygons",
    "pack_rles",
    "packed_rle_areas",
    "panoptic_intersections",
    "polygons_to_bitmask",
    "polygons_to_rle",
    "rle_area",
    "rle_decode",
    "rle_encode",
]
