"""Cityscapes' files: objects, semantic labels and panoptic segments of street scenes.

Source: https://www.cityscapes-dataset.com/dataset-overview
"""

from d2_data.datasets.cityscapes.drawing import draw_instance_ids, draw_train_ids, read_polygons
from d2_data.datasets.cityscapes.files import CityscapesFrame, cityscapes_frames
from d2_data.datasets.cityscapes.instances import load_cityscapes_instances
from d2_data.datasets.cityscapes.labels import CityscapesLabel, cityscapes_labels
from d2_data.datasets.cityscapes.maps import load_cityscapes_panoptic, load_cityscapes_semantic

__all__ = [
    "CityscapesFrame",
    "CityscapesLabel",
    "cityscapes_frames",
    "cityscapes_labels",
    "draw_instance_ids",
    "draw_train_ids",
    "load_cityscapes_instances",
    "load_cityscapes_panoptic",
    "load_cityscapes_semantic",
    "read_polygons",
]
