"""Readers of dataset formats."""

from d2_data.datasets.coco import load_coco_json, register_coco_instances
from d2_data.datasets.coco_conversion import convert_to_coco_dict, convert_to_coco_json
from d2_data.datasets.coco_folder import coco_folder

__all__ = [
    "coco_folder",
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "load_coco_json",
    "register_coco_instances",
]
