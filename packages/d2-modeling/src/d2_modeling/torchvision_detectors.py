"""Detectors of torchvision as ours, with the same outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from d2_config import CfgNode, get_cfg

from .anchor_generator import DefaultAnchorGenerator
from .backbone import FPN, LastLevelP6P7, build_resnet_backbone
from .layers import ShapeSpec
from .meta_arch import FCOS, FCOSHead, build_model
from .weights import convert_torchvision_detector, match_weights

_DEPTHS = {(3, 6): 50, (3, 23): 101, (3, 36): 152}
_MEAN = [123.675, 116.28, 103.53]
_STD = [58.395, 57.12, 57.375]
_DENSE_STAGES = ["res3", "res4", "res5"]
_RETINANET_SIZES = [
    [x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))] for x in (32, 64, 128, 256, 512)
]


def detector_from_torchvision(
    state_dict: Mapping[str, Tensor], *, norm_eps: float | None = None
) -> nn.Module:
    """Make our model of a detector of torchvision, with its weights and its conventions.

    Its kind, depth and number of classes are read off the names and shapes, so that torchvision
    need not be installed. Outputs are equal: poolers are not aligned and take 2×2 samples, anchors
    are rounded, and dense models clip boxes before they suppress those that overlap, as there.
    Boxes without area are left out. Pictures are RGB; our class k is torchvision's label k + 1.

    Args:
        state_dict: of ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn``,
            ``keypointrcnn_resnet50_fpn``, ``retinanet_resnet50_fpn`` or ``fcos_resnet50_fpn``,
            or of such a model with a deeper ResNet.
        norm_eps: see `convert_torchvision_detector`.

    Returns:
        `GeneralizedRCNN`, `RetinaNet` or `FCOS`, in evaluation mode.

    Raises:
        ValueError: if it is another model's.
    """
    weights = convert_torchvision_detector(state_dict, norm_eps=norm_eps)
    if "head.ctrness.weight" in weights:
        model: nn.Module = _fcos(weights)
    elif "head.cls_score.weight" in weights:
        model = _retinanet(weights)
    elif "roi_heads.box_predictor.cls_score.bias" in weights:
        model = _rcnn(weights)
    else:
        raise ValueError(
            "there is no head of a detector among the weights: neither "
            "roi_heads.box_predictor.cls_score nor head.classification_head.cls_logits"
        )
    match = match_weights(model.state_dict(), weights)
    if not match.complete:
        raise ValueError(f"the weights are of no detector of version 1:\n{match.report()}")
    model.load_state_dict(weights)
    return model.eval()


def _base(weights: Mapping[str, Tensor]) -> CfgNode:
    """What all of the models share."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = _MEAN, _STD
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    blocks = [
        sum(f"backbone.bottom_up.res{stage}.{block}.conv1.weight" in weights for block in range(99))
        for stage in (2, 4)
    ]
    if (blocks[0], blocks[1]) not in _DEPTHS:
        raise ValueError(f"its ResNet has {blocks} blocks in res2 and res4: no ResNet-50, 101, 152")
    cfg.MODEL.RESNETS.DEPTH = _DEPTHS[blocks[0], blocks[1]]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.0
    return cfg


def _rcnn(weights: Mapping[str, Tensor]) -> nn.Module:
    cfg = _base(weights)
    levels = ["p2", "p3", "p4", "p5"]
    stages = ["res2", "res3", "res4", "res5"]
    model = cfg.MODEL
    model.BACKBONE.NAME = "build_resnet_fpn_backbone"
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = stages
    model.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    model.RPN.IN_FEATURES = [*levels, "p6"]
    model.RPN.PRE_NMS_TOPK_TRAIN = 2000
    model.RPN.PRE_NMS_TOPK_TEST = model.RPN.POST_NMS_TOPK_TEST = 1000
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.IN_FEATURES = levels
    model.ROI_HEADS.NUM_CLASSES = len(weights["roi_heads.box_predictor.cls_score.bias"]) - 1
    model.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    model.ROI_BOX_HEAD.NUM_FC = 2
    model.MASK_ON = "roi_heads.mask_head.predictor.weight" in weights
    model.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    model.ROI_MASK_HEAD.NUM_CONV = 4
    model.KEYPOINT_ON = "roi_heads.keypoint_head.score_lowres.weight" in weights
    if model.KEYPOINT_ON:
        count = weights["roi_heads.keypoint_head.score_lowres.weight"].shape[1]
        model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = count
    for head, size in (("BOX", 7), ("MASK", 14), ("KEYPOINT", 14)):
        options = model[f"ROI_{head}_HEAD"]
        options.POOLER_TYPE, options.POOLER_RESOLUTION = "ROIAlign", size
        options.POOLER_SAMPLING_RATIO = 2
    built: Any = build_model(cfg)
    _round_anchors(built.proposal_generator.anchor_generator)
    return built


def _retinanet(weights: Mapping[str, Tensor]) -> nn.Module:
    cfg = _base(weights)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = _DENSE_STAGES
    cfg.TEST.DETECTIONS_PER_IMAGE = 300
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = _RETINANET_SIZES
    cfg.MODEL.RETINANET.NUM_CLASSES = _dense_classes(weights)
    built: Any = build_model(cfg)
    built.backbone.top_block = LastLevelP6P7(256, 256, "p5")  # not of the ResNet's last map
    _round_anchors(built.anchor_generator)
    built.clip_before_nms = True
    return built


def _fcos(weights: Mapping[str, Tensor]) -> FCOS:
    cfg = _base(weights)
    cfg.MODEL.RESNETS.OUT_FEATURES = _DENSE_STAGES
    bottom_up = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    backbone = FPN(bottom_up, _DENSE_STAGES, 256, top_block=LastLevelP6P7(256, 256, "p5"))
    shapes = list(backbone.output_shape().values())
    strides = [shape.stride or 0 for shape in shapes]
    num_classes = _dense_classes(weights)
    head = FCOSHead(input_shape=shapes, num_classes=num_classes, conv_dims=[256] * 4, norm="GN")
    return FCOS(
        backbone=backbone,
        head=head,
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[stride] for stride in strides], aspect_ratios=[1.0], strides=strides, offset=0.0
        ),
        num_classes=num_classes,
        clip_before_nms=True,
        pixel_mean=_MEAN,
        pixel_std=_STD,
    )


def _dense_classes(weights: Mapping[str, Tensor]) -> int:
    return 4 * len(weights["head.cls_score.bias"]) // len(weights["head.bbox_pred.bias"])


def _round_anchors(generator: DefaultAnchorGenerator) -> None:
    """Round the anchors around the origin to whole pixels."""
    for anchors in generator.cell_anchors:
        anchors.round_()
