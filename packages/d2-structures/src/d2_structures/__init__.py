"""Boxes, masks, keypoints, instances and images for object detection, and pictures of them."""

from . import pytrees  # noqa: F401  # PyTorch learns of the structures
from .array_pickle import ArrayPickleError, load_array_pickle
from .bit_masks import BitMasks
from .box_mode import BoxMode
from .box_overlaps import (
    matched_boxlist_iou,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from .boxes import Boxes
from .image_list import ImageList
from .instances import Instances
from .keypoint_heatmaps import heatmaps_to_keypoints
from .keypoints import Keypoints
from .optional_imports import import_optional
from .picture_files import (
    NotAPictureError,
    allow_picture_format,
    check_picture_file,
    open_picture,
)
from .polygon_masks import PolygonMasks, polygons_to_bitmask
from .rle_masks import RLEMasks
from .roi_masks import ROIMasks
from .rotated_boxes import RotatedBoxes, pairwise_iou_rotated

__all__ = [
    "ArrayPickleError",
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "Keypoints",
    "NotAPictureError",
    "PolygonMasks",
    "RLEMasks",
    "ROIMasks",
    "RotatedBoxes",
    "allow_picture_format",
    "check_picture_file",
    "heatmaps_to_keypoints",
    "import_optional",
    "load_array_pickle",
    "matched_boxlist_iou",
    "matched_pairwise_iou",
    "open_picture",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_iou_rotated",
    "pairwise_point_box_distance",
    "polygons_to_bitmask",
]
