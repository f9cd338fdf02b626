"""The simplest tracker: the best overlap first."""

from collections.abc import Sequence

import torch

from d2_engine.compat.tracking.base import TRACKER_HEADS_REGISTRY
from d2_engine.compat.tracking.frames import FrameTracker
from d2_structures import Instances, pairwise_iou


@TRACKER_HEADS_REGISTRY.register()
class BBoxIOUTracker(FrameTracker):
    """Pairs boxes by their IoU, the largest first, one to one; see `FrameTracker`."""

    def match(self, instances: Instances, previous: Instances) -> Sequence[tuple[int, int]]:
        """Pairs above the threshold."""
        iou = pairwise_iou(instances.pred_boxes, previous.pred_boxes)
        pairs: list[tuple[int, int]] = []
        taken: tuple[set[int], set[int]] = (set(), set())
        for flat in torch.argsort(iou.flatten(), descending=True, stable=True).tolist():
            current, earlier = divmod(flat, iou.shape[1])
            if iou[current, earlier] <= self._track_iou_threshold:
                break
            if current not in taken[0] and earlier not in taken[1]:
                taken[0].add(current)
                taken[1].add(earlier)
                pairs.append((current, earlier))
        return pairs
