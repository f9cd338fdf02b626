"""Which function reads which kind of built-in dataset.

A kind is one of ``datasets.json``, which also lists the files that it needs. A reader
takes the dataset's metadata, paths among them, and returns its samples.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from d2_data.catalog import Metadata
from d2_data.datasets.coco import load_coco_json

__all__ = ["READERS"]

Reader = Callable[[Metadata], list[dict[str, Any]]]

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "coco_instances": lambda data: load_coco_json(data.json_file, data.image_root, data.name),
        "coco_keypoints": lambda data: load_coco_json(data.json_file, data.image_root, data.name),
    }
)
