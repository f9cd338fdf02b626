"""What trackers share: who is who is kept in fields of the instances."""

from typing import Any

from d2_config import CfgNode, Registry
from d2_structures import Instances

TRACKER_HEADS_REGISTRY: Registry[Any] = Registry("TRACKER_HEADS")
"""Trackers by the names that ``cfg.TRACKER_HEADS.TRACKER_NAME`` may have."""


class BaseTracker:
    """Gives the detections of a frame the fields ``ID``, ``ID_period`` and ``lost_frame_count``.

    ``ID_period`` counts the frames in which the object was found, ``lost_frame_count`` those since
    it was last found.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._prev_instances: Instances | None = None
        self._matched_idx: set[int] = set()
        self._matched_ID: set[int] = set()
        self._untracked_prev_idx: set[int] = set()
        self._id_count = 0

    def update(self, predictions: Instances) -> Instances:
        """Return the detections of the next frame with their identities."""
        raise NotImplementedError(f"{type(self).__name__} must implement update()")


def build_tracker_head(cfg: CfgNode) -> BaseTracker:
    """Build the tracker that ``cfg.TRACKER_HEADS.TRACKER_NAME`` names."""
    tracker: BaseTracker = TRACKER_HEADS_REGISTRY.get(cfg.TRACKER_HEADS.TRACKER_NAME)(cfg)
    return tracker
