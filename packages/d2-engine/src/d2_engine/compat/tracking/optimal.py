"""Trackers that pair boxes so that the sum over all pairs is best."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2_engine.compat.tracking.assignment import cheapest_assignment
from d2_engine.compat.tracking.base import TRACKER_HEADS_REGISTRY
from d2_engine.compat.tracking.frames import FrameTracker
from d2_structures import Instances, pairwise_iou

LARGE_COST_VALUE = 100000
"""The cost of a pair that may not be."""


class BaseHungarianTracker(FrameTracker):
    """Pairs by the cheapest assignment of costs, which subclasses make; see `FrameTracker`."""

    def build_cost_matrix(
        self, instances: Instances, prev_instances: Instances
    ) -> NDArray[np.float64]:
        """(M, N) costs of pairing the M boxes of this frame with the N of the one before."""
        raise NotImplementedError(f"{type(self).__name__} must implement build_cost_matrix()")

    def match(self, instances: Instances, previous: Instances) -> Sequence[tuple[int, int]]:
        """Pairs of the cheapest assignment that may be."""
        if not len(instances):
            return []
        costs = self.build_cost_matrix(instances, previous)
        return [pair for pair in cheapest_assignment(costs) if costs[pair] < LARGE_COST_VALUE]

    def _allowed_costs(
        self, instances: Instances, previous: Instances, costs: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float64]:
        """(M, N) costs of the IoU where boxes overlap enough, elsewhere `LARGE_COST_VALUE`."""
        iou = pairwise_iou(instances.pred_boxes, previous.pred_boxes)
        allowed = torch.where(iou > self._track_iou_threshold, costs(iou), LARGE_COST_VALUE)
        return allowed.double().cpu().numpy()


@TRACKER_HEADS_REGISTRY.register()
class VanillaHungarianBBoxIOUTracker(BaseHungarianTracker):
    """As many pairs of overlapping boxes as can be, however much they overlap."""

    def build_cost_matrix(
        self, instances: Instances, prev_instances: Instances
    ) -> NDArray[np.float64]:
        """-1 for every pair that may be."""
        return self._allowed_costs(instances, prev_instances, lambda iou: -torch.ones_like(iou))


@TRACKER_HEADS_REGISTRY.register()
class IOUWeightedHungarianBBoxIOUTracker(BaseHungarianTracker):
    """Pairs of overlapping boxes with the largest sum of their IoU."""

    def build_cost_matrix(
        self, instances: Instances, prev_instances: Instances
    ) -> NDArray[np.float64]:
        """Minus the IoU of every pair that may be."""
        return self._allowed_costs(instances, prev_instances, torch.neg)
