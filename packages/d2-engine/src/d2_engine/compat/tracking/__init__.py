"""Trackers: the detections of successive frames get an ``ID`` that stays with the object.

``detectron2.tracking`` as projects use it.
"""

from d2_engine.compat.tracking.base import TRACKER_HEADS_REGISTRY, BaseTracker, build_tracker_head
from d2_engine.compat.tracking.greedy import BBoxIOUTracker
from d2_engine.compat.tracking.optimal import (
    BaseHungarianTracker,
    IOUWeightedHungarianBBoxIOUTracker,
    VanillaHungarianBBoxIOUTracker,
)

__all__ = [
    "TRACKER_HEADS_REGISTRY",
    "BBoxIOUTracker",
    "BaseHungarianTracker",
    "BaseTracker",
    "IOUWeightedHungarianBBoxIOUTracker",
    "VanillaHungarianBBoxIOUTracker",
    "build_tracker_head",
]
