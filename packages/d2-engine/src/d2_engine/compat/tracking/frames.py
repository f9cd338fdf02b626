"""Trackers of boxes: identities pass from a frame to the next where boxes are matched."""

from collections.abc import Sequence
from typing import Any

from d2_config import CfgNode, configurable
from d2_engine.compat.tracking.base import BaseTracker
from d2_structures import Instances


class FrameTracker(BaseTracker):
    """Keeps objects that were lost for a while; subclasses say which boxes belong together.

    Args:
        video_height, video_width: of the frames.
        max_num_instances: objects remembered at most.
        max_lost_frame_count: frames for which a lost object is remembered.
        min_box_rel_dim: objects smaller than this share of a side are forgotten when lost.
        min_instance_period: objects found in fewer frames are forgotten when lost.
        track_iou_threshold: IoU from which boxes of two frames may be the same object.
    """

    @configurable
    def __init__(
        self,
        *,
        video_height: int,
        video_width: int,
        max_num_instances: int = 200,
        max_lost_frame_count: int = 0,
        min_box_rel_dim: float = 0.02,
        min_instance_period: int = 1,
        track_iou_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._video_height = video_height
        self._video_width = video_width
        self._max_num_instances = max_num_instances
        self._max_lost_frame_count = max_lost_frame_count
        self._min_box_rel_dim = min_box_rel_dim
        self._min_instance_period = min_instance_period
        self._track_iou_threshold = track_iou_threshold

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config's ``TRACKER_HEADS``."""
        options = cfg.TRACKER_HEADS
        return {
            "video_height": options.VIDEO_HEIGHT,
            "video_width": options.VIDEO_WIDTH,
            "max_num_instances": options.get("MAX_NUM_INSTANCES", 200),
            "max_lost_frame_count": options.get("MAX_LOST_FRAME_COUNT", 0),
            "min_box_rel_dim": options.get("MIN_BOX_REL_DIM", 0.02),
            "min_instance_period": options.get("MIN_INSTANCE_PERIOD", 1),
            "track_iou_threshold": options.get("TRACK_IOU_THRESHOLD", 0.5),
        }

    def update(self, instances: Instances) -> Instances:
        """Return the detections of the next frame with their identities, lost objects behind."""
        for name in ("ID", "ID_period", "lost_frame_count"):
            if not instances.has(name):
                instances.set(name, [None] * len(instances))
        previous = self._prev_instances
        self._matched_idx, self._matched_ID, self._untracked_prev_idx = set(), set(), set()
        if previous is not None and len(previous):
            self._untracked_prev_idx = set(range(len(previous)))
            for current, earlier in self.match(instances, previous):
                self._pass_on(instances, current, previous, earlier)
        self._number_new_ones(instances)
        if previous is not None:
            instances = self._with_lost_ones(instances, previous)
        self._prev_instances = instances.__copy__()
        return instances

    def match(self, instances: Instances, previous: Instances) -> Sequence[tuple[int, int]]:
        """Pairs of indices of the same object in this frame and in the one before."""
        raise NotImplementedError(f"{type(self).__name__} must implement match()")

    def _pass_on(
        self, instances: Instances, current: int, previous: Instances, earlier: int
    ) -> None:
        instances.ID[current] = previous.ID[earlier]
        instances.ID_period[current] = previous.ID_period[earlier] + 1
        instances.lost_frame_count[current] = 0
        self._matched_idx.add(current)
        self._matched_ID.add(instances.ID[current])
        self._untracked_prev_idx.discard(earlier)

    def _number_new_ones(self, instances: Instances) -> None:
        for index in range(len(instances)):
            if index not in self._matched_idx:
                instances.ID[index] = self._id_count
                instances.ID_period[index] = 1
                instances.lost_frame_count[index] = 0
                self._id_count += 1

    def _with_lost_ones(self, instances: Instances, previous: Instances) -> Instances:
        kept = [
            index for index in sorted(self._untracked_prev_idx) if self._is_kept(previous, index)
        ]
        kept = kept[: max(self._max_num_instances - len(instances), 0)]
        if not kept:
            return instances
        lost = previous[kept]
        lost.lost_frame_count = [count + 1 for count in lost.lost_frame_count]
        names = instances.get_fields().keys() & lost.get_fields().keys()
        return Instances.cat([_only(instances, names), _only(lost, names)])

    def _is_kept(self, previous: Instances, index: int) -> bool:
        x1, y1, x2, y2 = previous.pred_boxes.tensor[index].tolist()
        return (
            (x2 - x1) / self._video_width >= self._min_box_rel_dim
            and (y2 - y1) / self._video_height >= self._min_box_rel_dim
            and previous.lost_frame_count[index] < self._max_lost_frame_count
            and previous.ID_period[index] > self._min_instance_period
        )


def _only(instances: Instances, names: Any) -> Instances:
    chosen = Instances(instances.image_size)
    for name, value in instances.get_fields().items():
        if name in names:
            chosen.set(name, value)
    return chosen
