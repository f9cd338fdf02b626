"""Which function reads which kind of built-in dataset.

A kind is one of ``datasets.json``, which also lists the files that it needs. A reader
takes the dataset's metadata, paths among them, and returns its samples.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from d2_data.catalog import Metadata
from d2_data.datasets.cityscapes import (
    load_cityscapes_instances,
    load_cityscapes_panoptic,
    load_cityscapes_semantic,
)
from d2_data.datasets.coco import load_coco_json
from d2_data.datasets.coco_panoptic import load_coco_panoptic_json, load_coco_panoptic_separated
from d2_data.datasets.lvis import load_lvis_json
from d2_data.datasets.pascal_voc import load_voc_instances
from d2_data.datasets.semantic_folder import load_sem_seg

__all__ = ["READERS"]

Reader = Callable[[Metadata], list[dict[str, Any]]]

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "coco_instances": lambda data: load_coco_json(
            data.json_file, data.image_root, data.name, outside_root="links"
        ),
        "coco_keypoints": lambda data: load_coco_json(
            data.json_file, data.image_root, data.name, outside_root="links"
        ),
        "coco_panoptic": lambda data: load_coco_panoptic_json(
            data.panoptic_json, data.image_root, data.panoptic_root, data, outside_root="links"
        ),
        "coco_panoptic_separated": lambda data: load_coco_panoptic_separated(
            data.json_file, data.image_root, data.sem_seg_root, data.name, outside_root="links"
        ),
        "sem_seg": lambda data: load_sem_seg(data.sem_seg_root, data.image_root),
        "lvis": lambda data: load_lvis_json(
            data.json_file, data.image_root, data.name, outside_root="links"
        ),
        "voc": lambda data: load_voc_instances(data.dirname, data.split, data.thing_classes),
        "cityscapes_instances": lambda data: load_cityscapes_instances(data.image_dir, data.gt_dir),
        "cityscapes_sem_seg": lambda data: load_cityscapes_semantic(data.image_dir, data.gt_dir),
        "cityscapes_panoptic": lambda data: load_cityscapes_panoptic(
            data.image_root, data.gt_dir, data.panoptic_json, data.panoptic_root, data
        ),
    }
)
