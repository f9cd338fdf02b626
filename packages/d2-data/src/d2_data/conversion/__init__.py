"""Datasets from one format into another: COCO, Pascal VOC and YOLO folders."""

from d2_data.conversion.convert import PLACEMENTS, TARGET_FORMATS, ConvertedSplit, convert
from d2_data.conversion.sources import SOURCE_FORMATS, read_splits
from d2_data.conversion.splits import Split
from d2_data.conversion.yolo_target import YOLO_TASKS

__all__ = [
    "PLACEMENTS",
    "SOURCE_FORMATS",
    "TARGET_FORMATS",
    "YOLO_TASKS",
    "ConvertedSplit",
    "Split",
    "convert",
    "read_splits",
]
