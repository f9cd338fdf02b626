"""Detectors that predict from every pixel of the feature maps at once: the parts they share."""

from .detector import DenseDetector
from .heads import FCOSHead, RetinaNetHead
from .labels import labels_by_overlap, labels_by_place
from .losses import dense_focal_loss
from .selection import Candidates, best_of_level, detections_of_levels, per_anchor

__all__ = [
    "Candidates",
    "DenseDetector",
    "FCOSHead",
    "RetinaNetHead",
    "best_of_level",
    "dense_focal_loss",
    "detections_of_levels",
    "labels_by_overlap",
    "labels_by_place",
    "per_anchor",
]
