"""``detectron2.modeling``."""

from d2_engine.compat.module_map import each, home

_MODELING = "d2_modeling"
_AUGMENTED = "d2_engine.test_time_augmentation"
_BACKBONE = "d2_modeling.backbone"
_HEADS = "d2_modeling.roi_heads"
_ARCHITECTURES = "d2_modeling.meta_arch"
_PROPOSALS = "d2_modeling.proposal_generator"

_RESNET = {
    "ResNetBlockBase": "d2_modeling.layers:CNNBlockBase",
    "make_stage": "d2_modeling.backbone:ResNet.make_stage",
}
_PERMUTED = each(".shims.older_layers", "permute_to_N_HWA_K")

MODULES = {
    "detectron2.modeling": home(
        *(_MODELING, _BACKBONE, _ARCHITECTURES, _PROPOSALS, _HEADS, _AUGMENTED),
        "d2_modeling.anchor_generator",
        names=_RESNET,
    ),
    "detectron2.modeling.anchor_generator": home(
        "d2_modeling.anchor_generator",
        names=each(".shims.older_layers", "BufferList", "_create_grid_offsets"),
    ),
    "detectron2.modeling.backbone": home(_BACKBONE, names=_RESNET),
    "detectron2.modeling.backbone.backbone": home(_BACKBONE),
    "detectron2.modeling.backbone.build": home(_BACKBONE),
    "detectron2.modeling.backbone.fpn": home(
        _BACKBONE, names=each(".shims.pyramid_strides", "_assert_strides_are_log2_contiguous")
    ),
    "detectron2.modeling.backbone.mvit": home(_BACKBONE),
    "detectron2.modeling.backbone.regnet": home(_BACKBONE),
    "detectron2.modeling.backbone.resnet": home(_BACKBONE, names=_RESNET),
    "detectron2.modeling.backbone.swin": home(_BACKBONE),
    "detectron2.modeling.backbone.utils": home(
        _BACKBONE,
        names=each(
            ".shims.window_attention", "add_decomposed_rel_pos", "get_abs_pos", "get_rel_pos"
        ),
    ),
    "detectron2.modeling.backbone.vit": home(_BACKBONE),
    "detectron2.modeling.box_regression": home(
        "d2_modeling.box_regression",
        names=each(".shims.box_regression", "_DEFAULT_SCALE_CLAMP", "_dense_box_regression_loss"),
    ),
    "detectron2.modeling.matcher": home("d2_modeling.matcher"),
    "detectron2.modeling.meta_arch": home(_ARCHITECTURES),
    "detectron2.modeling.meta_arch.build": home(_ARCHITECTURES),
    "detectron2.modeling.meta_arch.dense_detector": home(
        _ARCHITECTURES,
        names=_PERMUTED,
        absent={"DenseDetector": "derive from RetinaNet or FCOS, which share theirs"},
    ),
    "detectron2.modeling.meta_arch.fcos": home(_ARCHITECTURES),
    "detectron2.modeling.meta_arch.panoptic_fpn": home(_ARCHITECTURES),
    "detectron2.modeling.meta_arch.rcnn": home(_ARCHITECTURES),
    "detectron2.modeling.meta_arch.retinanet": home(_ARCHITECTURES, names=_PERMUTED),
    "detectron2.modeling.meta_arch.semantic_seg": home(_ARCHITECTURES),
    "detectron2.modeling.mmdet_wrapper": home(_MODELING),
    "detectron2.modeling.poolers": home("d2_modeling.poolers"),
    "detectron2.modeling.postprocessing": home("d2_modeling.postprocessing"),
    "detectron2.modeling.proposal_generator": home(_PROPOSALS),
    "detectron2.modeling.proposal_generator.build": home(_PROPOSALS),
    "detectron2.modeling.proposal_generator.proposal_utils": home(
        _PROPOSALS,
        names=each(".shims.ground_truth_forms", "add_ground_truth_to_proposals_single_image")
        | each(".shims.tracing_state", "_is_tracing"),
    ),
    "detectron2.modeling.proposal_generator.rpn": home(_PROPOSALS),
    "detectron2.modeling.proposal_generator.rrpn": home(
        _PROPOSALS,
        names={"find_top_rrpn_proposals": "d2_modeling.proposal_generator:find_top_rpn_proposals"},
    ),
    "detectron2.modeling.roi_heads": home(_HEADS),
    "detectron2.modeling.roi_heads.box_head": home(_HEADS),
    "detectron2.modeling.roi_heads.cascade_rcnn": home(
        _HEADS, names={"_ScaleGradient": "d2_modeling.roi_heads:ScaledGradient"}
    ),
    "detectron2.modeling.roi_heads.fast_rcnn": home(
        _HEADS,
        names={"_log_classification_stats": "d2_modeling.roi_heads:report_classification"},
        absent={
            "FastRCNNOutputs": "its losses and inference are methods of FastRCNNOutputLayers "
            "since detectron2 0.3"
        },
    ),
    "detectron2.modeling.roi_heads.keypoint_head": home(_HEADS),
    "detectron2.modeling.roi_heads.mask_head": home(_HEADS),
    "detectron2.modeling.roi_heads.roi_heads": home(_HEADS),
    "detectron2.modeling.roi_heads.rotated_fast_rcnn": home(_HEADS),
    "detectron2.modeling.sampling": home("d2_modeling.sampling"),
    "detectron2.modeling.test_time_augmentation": home(_AUGMENTED),
}
