"""The public names: adding or removing one is a decision, written down here."""

import d2_modeling
from d2_modeling import backbone, layers, meta_arch, proposal_generator, roi_heads, weights

PACKAGE = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BACKBONE_REGISTRY",
    "Backbone",
    "BaseKeypointRCNNHead",
    "BaseMaskRCNNHead",
    "FPN",
    "FastRCNNOutputLayers",
    "GeneralizedRCNN",
    "META_ARCH_REGISTRY",
    "MMDetBackbone",
    "MMDetDetector",
    "PROPOSAL_GENERATOR_REGISTRY",
    "PanopticFPN",
    "ProposalNetwork",
    "ROIHeads",
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "RPN_HEAD_REGISTRY",
    "ResNet",
    "RetinaNet",
    "SEM_SEG_HEADS_REGISTRY",
    "SemanticSegmentor",
    "ShapeSpec",
    "StandardROIHeads",
    "build_anchor_generator",
    "build_backbone",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_model",
    "build_proposal_generator",
    "build_resnet_backbone",
    "build_roi_heads",
    "build_rpn_head",
    "build_sem_seg_head",
    "detector_postprocess",
    "sem_seg_postprocess",
]
LAYERS = [
    "ASPP",
    "BatchNorm2d",
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "DeformConv",
    "DepthwiseSeparableConv2d",
    "FrozenBatchNorm2d",
    "Linear",
    "ModulatedDeformConv",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ROIAlignRotated",
    "ShapeSpec",
    "batched_nms",
    "batched_nms_rotated",
    "cat",
    "cross_entropy",
    "deform_conv2d",
    "get_norm",
    "interpolate",
    "nms",
    "nms_rotated",
    "nonzero_tuple",
    "paste_masks_in_image",
    "roi_align",
    "roi_align_rotated",
]
BACKBONE = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "FPN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "RegNet",
    "ResBottleneckBlock",
    "ResNet",
    "SimpleFeaturePyramid",
    "SimpleStem",
    "ViT",
    "build_backbone",
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
    "get_vit_lr_decay_rate",
]
PROPOSALS = [
    "PROPOSAL_GENERATOR_REGISTRY",
    "RPN",
    "RPN_HEAD_REGISTRY",
    "RRPN",
    "StandardRPNHead",
    "add_ground_truth_to_proposals",
    "build_proposal_generator",
    "build_rpn_head",
    "find_top_rpn_proposals",
]
ROI = [
    "BaseKeypointRCNNHead",
    "BaseMaskRCNNHead",
    "CascadeROIHeads",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "KRCNNConvDeconvUpsampleHead",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "RROIHeads",
    "Res5ROIHeads",
    "RotatedFastRCNNOutputLayers",
    "StandardROIHeads",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_roi_heads",
    "fast_rcnn_inference",
    "keypoint_rcnn_inference",
    "keypoint_rcnn_loss",
    "mask_rcnn_inference",
    "mask_rcnn_loss",
    "select_foreground_proposals",
    "select_proposals_with_visible_keypoints",
]
META_ARCH = [
    "FCOS",
    "FCOSHead",
    "GeneralizedRCNN",
    "META_ARCH_REGISTRY",
    "PanopticFPN",
    "ProposalNetwork",
    "RetinaNet",
    "RetinaNetHead",
    "SEM_SEG_HEADS_REGISTRY",
    "SemSegFPNHead",
    "SemanticSegmentor",
    "build_model",
    "build_sem_seg_head",
    "combine_semantic_and_instance_outputs",
]
WEIGHTS = [
    "ShapeMismatch",
    "WeightMatch",
    "convert_caffe2_backbone",
    "convert_torchvision_resnet",
    "is_caffe2_backbone",
    "is_torchvision_resnet",
    "match_weights",
]


def test_public_names_are_the_listed_ones() -> None:
    assert sorted(d2_modeling.__all__) == PACKAGE
    assert sorted(layers.__all__) == LAYERS
    assert sorted(backbone.__all__) == BACKBONE
    assert sorted(proposal_generator.__all__) == PROPOSALS
    assert sorted(roi_heads.__all__) == ROI
    assert sorted(weights.__all__) == WEIGHTS
    assert sorted(meta_arch.__all__) == META_ARCH


def test_registries_hold_what_the_package_defines() -> None:
    assert d2_modeling.META_ARCH_REGISTRY.get("GeneralizedRCNN") is d2_modeling.GeneralizedRCNN
    assert d2_modeling.ROI_HEADS_REGISTRY.get("StandardROIHeads") is d2_modeling.StandardROIHeads
    for registry, name in (
        (d2_modeling.ROI_BOX_HEAD_REGISTRY, "FastRCNNConvFCHead"),
        (d2_modeling.ROI_MASK_HEAD_REGISTRY, "MaskRCNNConvUpsampleHead"),
        (d2_modeling.ROI_KEYPOINT_HEAD_REGISTRY, "KRCNNConvDeconvUpsampleHead"),
        (d2_modeling.RPN_HEAD_REGISTRY, "StandardRPNHead"),
        (d2_modeling.PROPOSAL_GENERATOR_REGISTRY, "RPN"),
        (d2_modeling.ANCHOR_GENERATOR_REGISTRY, "DefaultAnchorGenerator"),
    ):
        assert name in registry
