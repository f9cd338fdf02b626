"""One kind of prediction from regions: where it looks, how it pools, and what predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from d2_structures import Boxes

from ..batched_selection import Detections
from ..poolers import ROIPooler

RegionFeatures = Tensor | dict[str, Tensor]
"""(R, C, S, S) pooled features of all regions, or the feature maps themselves by name."""


class RegionBranch(NamedTuple):
    """The feature maps, the pooler and the head of boxes, masks or keypoints."""

    in_features: Sequence[str]
    pooler: ROIPooler | None
    """None gives the head the feature maps themselves."""
    head: Any

    def of_boxes(self, features: Mapping[str, Tensor], boxes: Sequence[Boxes]) -> RegionFeatures:
        """What the head gets for the boxes of each image.

        Args:
            features: feature maps by name.
            boxes: for each image its boxes.
        """
        if self.pooler is None:
            return {name: features[name] for name in self.in_features}
        pooled: Tensor = self.pooler([features[name] for name in self.in_features], boxes)
        return pooled

    def of_rows(self, features: Mapping[str, Tensor], rois: Tensor) -> RegionFeatures:
        """`of_boxes` of boxes that stand below each other, the image's index first."""
        if self.pooler is None:
            return {name: features[name] for name in self.in_features}
        return self.pooler.pool([features[name] for name in self.in_features], rois)

    def predict_tensors(self, features: Mapping[str, Tensor], found: Detections) -> Tensor:
        """What the head predicts for detections, as a function of tensors.

        Raises:
            TypeError: if the head has no such function.
        """
        return tensors_of_head(self.head, self.of_rows(features, found.rois()), found)


def tensors_of_head(head: Any, x: RegionFeatures, found: Detections) -> Tensor:
    """``head.predict_tensors(x, found)``.

    Raises:
        TypeError: if the head has no such function.
    """
    if not hasattr(head, "predict_tensors"):
        raise TypeError(
            f"{type(head).__name__} has no predict_tensors(x, detections), which a model without "
            "Instances needs; derive it from BaseMaskRCNNHead or BaseKeypointRCNNHead"
        )
    predicted: Tensor = head.predict_tensors(x, found)
    return predicted
