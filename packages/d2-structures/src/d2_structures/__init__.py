"""Boxes, masks, keypoints, instances and images for object detection, and pictures of them."""

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

__all__ = [
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "matched_boxlist_iou",
    "matched_pairwise_iou",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]
