"""ROI heads for rotated boxes."""

from __future__ import annotations

from typing import Any

from ..box_regression import Box2BoxTransformRotated
from .build import ROI_HEADS_REGISTRY
from .fast_rcnn import FastRCNNOutputLayers
from .standard_roi_heads import StandardROIHeads


class RotatedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` whose transform is a `Box2BoxTransformRotated`."""

    _transform_class = Box2BoxTransformRotated


@ROI_HEADS_REGISTRY.register()
class RROIHeads(StandardROIHeads):
    """A box head for rotated boxes: its pooler is of type ``"ROIAlignRotated"``.

    The same as `StandardROIHeads`, without masks and keypoints.

    Args:
        **kwargs: arguments of `StandardROIHeads`.

    Raises:
        ValueError: if the pooler is of another type, or a mask or keypoint head is asked for.
    """

    _box_predictor_class = RotatedFastRCNNOutputLayers

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pooler_type = self.box_pooler.pooler_type
        if pooler_type != "ROIAlignRotated":
            raise ValueError(
                "RROIHeads needs a box_pooler of type 'ROIAlignRotated' "
                f"(MODEL.ROI_BOX_HEAD.POOLER_TYPE), got {pooler_type!r}"
            )
        if self.mask_on or self.keypoint_on:
            raise ValueError("heads for rotated boxes have neither masks nor keypoints")
