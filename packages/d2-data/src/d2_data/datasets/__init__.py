"""Readers of dataset formats."""

from d2_data.datasets.cityscapes import (
    load_cityscapes_instances,
    load_cityscapes_panoptic,
    load_cityscapes_semantic,
)
from d2_data.datasets.coco import load_coco_json, register_coco_instances
from d2_data.datasets.coco_conversion import convert_to_coco_dict, convert_to_coco_json
from d2_data.datasets.coco_folder import coco_folder
from d2_data.datasets.coco_panoptic import (
    load_coco_panoptic_json,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from d2_data.datasets.lvis import get_lvis_instances_meta, load_lvis_json, register_lvis_instances
from d2_data.datasets.pascal_voc import load_voc_instances, register_pascal_voc
from d2_data.datasets.semantic_folder import load_sem_seg
from d2_data.datasets.yolo import load_yolo, register_yolo
from d2_data.image_root import OutsideRoot

__all__ = [
    "OutsideRoot",
    "coco_folder",
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "get_lvis_instances_meta",
    "load_cityscapes_instances",
    "load_cityscapes_panoptic",
    "load_cityscapes_semantic",
    "load_coco_json",
    "load_coco_panoptic_json",
    "load_lvis_json",
    "load_sem_seg",
    "load_voc_instances",
    "load_yolo",
    "register_coco_instances",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "register_lvis_instances",
    "register_pascal_voc",
    "register_yolo",
]
