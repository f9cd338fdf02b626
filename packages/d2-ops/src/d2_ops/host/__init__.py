"""Mask and evaluation kernels for NumPy arrays. Imports no torch, holds no lock while it computes.

Bit for bit what pycocotools computes: polygons become the pixels, and masks the run lengths, that
COCO's tools make of them; so are the precision and recall of detections. An RLE is a dict
``{"size": [height, width], "counts": ...}``, its counts compressed bytes or text, or plain lengths.
Coordinates are continuous pixels, (0, 0) the corner of the first one. ``num_threads`` is at most so
many threads; 0 takes one per core where there is work for them.
"""

from ._bitmasks import crop_and_resize_bitmasks, crop_and_resize_rles, mask_bounding_boxes
from ._boundaries import boundary_iou, mask_boundary, rle_boundary
from ._coco_evaluation import CocoPrecisionRecall, coco_evaluate
from ._coco_objects import CocoDetections, CocoGroundTruths
from ._coco_results import CocoResults, read_coco_results
from ._heatmaps import heatmaps_to_keypoints
from ._labels import SegmentIntersections, confusion_matrix, panoptic_intersections
from ._overlaps import box_iou, rle_iou, rle_merge
from ._packed_rle import (
    PackedRLEs,
    join_packed_rles,
    pack_masks,
    pack_rles,
    packed_rle_areas,
    select_packed_rles,
    unpack_rles,
)
from ._pictures import resize_picture
from ._polygons import (
    crop_and_resize_polygons,
    polygons_to_bitmask,
    polygons_to_bitmasks,
    polygons_to_rle,
    polygons_to_rles,
)
from ._rle import RLE, rle_area, rle_bounding_boxes, rle_compress, rle_decode, rle_encode

__all__ = [
    "RLE",
    "CocoDetections",
    "CocoGroundTruths",
    "CocoPrecisionRecall",
    "CocoResults",
    "PackedRLEs",
    "SegmentIntersections",
    "boundary_iou",
    "box_iou",
    "coco_evaluate",
    "confusion_matrix",
    "crop_and_resize_bitmasks",
    "crop_and_resize_polygons",
    "crop_and_resize_rles",
    "heatmaps_to_keypoints",
    "join_packed_rles",
    "mask_boundary",
    "mask_bounding_boxes",
    "pack_masks",
    "pack_rles",
    "packed_rle_areas",
    "panoptic_intersections",
    "polygons_to_bitmask",
    "polygons_to_bitmasks",
    "polygons_to_rle",
    "polygons_to_rles",
    "read_coco_results",
    "resize_picture",
    "rle_area",
    "rle_boundary",
    "rle_bounding_boxes",
    "rle_compress",
    "rle_decode",
    "rle_encode",
    "rle_iou",
    "rle_merge",
    "select_packed_rles",
    "unpack_rles",
]
