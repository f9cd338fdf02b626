"""ROI heads for rotated boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d2_config import CfgNode

from ..box_regression import Box2BoxTransformRotated
from ..layers import ShapeSpec
from .build import ROI_HEADS_REGISTRY, build_box_head
from .fast_rcnn import FastRCNNOutputLayers
from .region_pooling import build_region_pooler
from .roi_heads import StandardROIHeads


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
        ValueError: if a mask or keypoint head is asked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.mask_on or self.keypoint_on:
            raise ValueError("heads for rotated boxes have neither masks nor keypoints")

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        pooler_type = cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE
        if pooler_type != "ROIAlignRotated":
            raise ValueError(
                "RROIHeads needs MODEL.ROI_BOX_HEAD.POOLER_TYPE 'ROIAlignRotated', "
                f"got {pooler_type!r}"
            )
        pooler, pooled_shape = build_region_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        head = build_box_head(cfg, pooled_shape)
        return {
            "box_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "box_pooler": pooler,
            "box_head": head,
            "box_predictor": RotatedFastRCNNOutputLayers(cfg, head.output_shape),
        }
