"""YOLO's format: a text file of fractions beside each image, and a YAML file that describes all.

Source: https://docs.ultralytics.com/datasets
"""

from d2_data.datasets.yolo.description import YoloDescription, read_yolo_description
from d2_data.datasets.yolo.reading import load_yolo, register_yolo, yolo_metadata

__all__ = [
    "YoloDescription",
    "load_yolo",
    "read_yolo_description",
    "register_yolo",
    "yolo_metadata",
]
