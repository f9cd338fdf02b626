"""Predictions from regions of feature maps."""

from .box_head import FastRCNNConvFCHead
from .build import (
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    build_box_head,
    build_keypoint_head,
    build_mask_head,
    build_roi_heads,
)
from .cascade_rcnn import CascadeROIHeads, ScaledGradient
from .fast_rcnn import (
    FastRCNNOutputLayers,
    federated_class_weights,
    report_classification,
)
from .fast_rcnn_inference import fast_rcnn_inference, fast_rcnn_inference_single_image
from .keypoint_head import (
    BaseKeypointRCNNHead,
    KRCNNConvDeconvUpsampleHead,
    keypoint_rcnn_inference,
    keypoint_rcnn_loss,
)
from .mask_head import (
    BaseMaskRCNNHead,
    MaskRCNNConvUpsampleHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from .region_branch import RegionBranch
from .region_head import RegionHead
from .region_selection import (
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from .res5_roi_heads import Res5ROIHeads
from .roi_heads import ROIHeads
from .rotated_fast_rcnn import RotatedFastRCNNOutputLayers, RROIHeads
from .standard_roi_heads import StandardROIHeads

__all__ = [
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "BaseKeypointRCNNHead",
    "BaseMaskRCNNHead",
    "CascadeROIHeads",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "KRCNNConvDeconvUpsampleHead",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "RROIHeads",
    "RegionBranch",
    "RegionHead",
    "Res5ROIHeads",
    "RotatedFastRCNNOutputLayers",
    "ScaledGradient",
    "StandardROIHeads",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_roi_heads",
    "fast_rcnn_inference",
    "fast_rcnn_inference_single_image",
    "federated_class_weights",
    "keypoint_rcnn_inference",
    "keypoint_rcnn_loss",
    "mask_rcnn_inference",
    "mask_rcnn_loss",
    "report_classification",
    "select_foreground_proposals",
    "select_proposals_with_visible_keypoints",
]
