"""Models and their parts out of yacs-style configs."""

from typing import Any

import pytest
import torch

from d2_config import CfgNode, get_cfg
from d2_modeling import (
    BACKBONE_REGISTRY,
    FastRCNNOutputLayers,
    ShapeSpec,
    build_anchor_generator,
    build_backbone,
    build_keypoint_head,
    build_model,
    build_proposal_generator,
    build_roi_heads,
    build_rpn_head,
)
from d2_modeling.backbone import build_resnet_backbone, build_resnet_fpn_backbone

SHAPES = {
    "p4": ShapeSpec(channels=8, stride=16),
    "p5": ShapeSpec(channels=8, stride=32),
    "wide": ShapeSpec(channels=16, stride=64),
}


@pytest.fixture
def cfg() -> CfgNode:
    """A config of a small R-CNN with a pyramid."""
    cfg = get_cfg()
    model = cfg.MODEL
    model.DEVICE = "cpu"
    model.BACKBONE.NAME = "build_resnet_fpn_backbone"
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 16
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.FPN.OUT_CHANNELS = 8
    model.RPN.IN_FEATURES = model.ROI_HEADS.IN_FEATURES = ["p4", "p5"]
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.NUM_CLASSES = 3
    model.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    return cfg


def test_values_of_the_config_reach_the_parts(cfg: CfgNode) -> None:
    cfg.MODEL.RPN.NMS_THRESH = 0.6
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 77
    cfg.MODEL.RPN.LOSS_WEIGHT, cfg.MODEL.RPN.BBOX_REG_LOSS_WEIGHT = 2.0, 3.0
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT = 4.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 11
    cfg.INPUT.FORMAT = "RGB"
    model: Any = build_model(cfg)
    rpn, heads = model.proposal_generator, model.roi_heads
    assert (rpn.nms_thresh, rpn.pre_nms_topk) == (0.6, {True: 12000, False: 77})
    assert rpn.loss_weight == {"loss_rpn_cls": 2.0, "loss_rpn_loc": 6.0}
    assert rpn.anchor_matcher.allow_low_quality_matches
    assert not heads.proposal_matcher.allow_low_quality_matches
    assert heads.box_predictor.loss_weight == {"loss_cls": 1.0, "loss_box_reg": 4.0}
    assert heads.box_predictor.test_topk_per_image == 11
    assert heads.box_pooler.output_size == (7, 7)
    assert not heads.mask_on
    assert model.input_format == "RGB"


def test_explicit_arguments_win_over_the_config(cfg: CfgNode) -> None:
    layers = FastRCNNOutputLayers(cfg, ShapeSpec(channels=8), num_classes=7, use_sigmoid_ce=True)
    assert layers.cls_score.out_features == 8
    assert layers.use_sigmoid_ce


def test_precomputed_proposals_need_no_generator(cfg: CfgNode) -> None:
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_proposal_generator(cfg, SHAPES) is None


def test_a_head_without_pooler_gets_the_feature_maps(cfg: CfgNode) -> None:
    cfg.MODEL.KEYPOINT_ON = True
    heads: Any = build_roi_heads(cfg, SHAPES)
    assert heads.keypoint_pooler.output_size == (14, 14)
    cfg.MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE = ""
    with pytest.raises(ValueError, match="number of channels"):  # this head wants one shape
        build_roi_heads(cfg, SHAPES)


@pytest.mark.parametrize(("by_visible", "normalizer"), [(True, "visible"), (False, 17 * 64 * 0.25)])
def test_keypoint_losses_are_normalised_as_configured(
    cfg: CfgNode, by_visible: bool, normalizer: object
) -> None:
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 64
    cfg.MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS = by_visible
    cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = [8]
    head: Any = build_keypoint_head(cfg, ShapeSpec(channels=8))
    assert head.loss_normalizer == normalizer


@pytest.mark.parametrize("depth", [18, 34])
def test_shallow_residual_networks_have_basic_blocks(depth: int) -> None:
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = depth
    with pytest.raises(ValueError, match="'RES2_OUT_CHANNELS': 256"):
        build_backbone(cfg)
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert backbone.output_shape() == {"res4": ShapeSpec(channels=256, stride=16)}


def test_a_dilated_last_stage_keeps_the_stride() -> None:
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    cfg.MODEL.RESNETS.RES5_DILATION = 2
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert backbone.output_shape()["res5"].stride == 16
    assert backbone.get_submodule("res5.1.conv2").dilation == (2, 2)


def test_the_number_of_input_channels_follows_the_pixel_statistics(cfg: CfgNode) -> None:
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0] * 5, [1.0] * 5
    assert build_backbone(cfg).get_parameter("bottom_up.stem.conv1.weight").shape[1] == 5
    narrow = build_resnet_fpn_backbone(cfg, ShapeSpec(channels=1))
    assert narrow.get_parameter("bottom_up.stem.conv1.weight").shape[1] == 1


def test_a_backbone_has_to_be_one(cfg: CfgNode) -> None:
    def build_no_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> torch.nn.Module:
        return torch.nn.Identity()

    if "build_no_backbone" not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(build_no_backbone)
    cfg.MODEL.BACKBONE.NAME = "build_no_backbone"
    with pytest.raises(TypeError, match="made a Identity"):
        build_backbone(cfg)


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("META_ARCHITECTURE", "GeneralizedRCN", KeyError, "Did you mean GeneralizedRCNN"),
        ("DEVICE", "gpu", ValueError, "MODEL.DEVICE 'gpu'"),
        ("RESNETS.DEPTH", 51, ValueError, "MODEL.RESNETS.DEPTH 51"),
        ("RESNETS.RES5_DILATION", 3, ValueError, "RES5_DILATION can be 1 or 2"),
        ("RPN.IN_FEATURES", ["p7"], ValueError, r"MODEL.RPN.IN_FEATURES is \['p7'\]"),
        ("ROI_HEADS.IN_FEATURES", [], ValueError, "MODEL.ROI_HEADS.IN_FEATURES"),
        ("ANCHOR_GENERATOR.NAME", "Anchors", KeyError, "ANCHOR_GENERATOR"),
        ("ANCHOR_GENERATOR.ASPECT_RATIOS", [[1.0], [1.0, 2.0]], ValueError, "as many anchors"),
    ],
)
def test_wrong_values_are_named_with_their_key(
    cfg: CfgNode, key: str, value: object, error: type[Exception], message: str
) -> None:
    cfg.merge_from_list([f"MODEL.{key}", value])
    with pytest.raises(error, match=message):
        build_model(cfg)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_the_remedy_is_named(cfg: CfgNode) -> None:
    cfg.MODEL.DEVICE = "cuda"
    with pytest.raises(ValueError, match="set MODEL.DEVICE to 'cpu'"):
        build_model(cfg)


def test_a_retinanet_pyramid_needs_the_last_stage(cfg: CfgNode) -> None:
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4"]
    with pytest.raises(ValueError, match="need 'res5'"):
        build_backbone(cfg)


def test_feature_maps_of_a_shared_head_have_one_width(cfg: CfgNode) -> None:
    shapes = [SHAPES["p5"], SHAPES["wide"]]
    assert build_anchor_generator(cfg, shapes).num_anchors == [15, 15]
    with pytest.raises(ValueError, match="the RPN head wants feature maps of one known width"):
        build_rpn_head(cfg, shapes)
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p5", "wide"]
    with pytest.raises(ValueError, match="one known width"):
        build_roi_heads(cfg, SHAPES)


def test_stages_are_deformable_where_the_config_says(cfg: CfgNode) -> None:
    options = cfg.MODEL.RESNETS
    options.OUT_FEATURES = ["res2", "res3", "res4"]
    options.DEFORM_ON_PER_STAGE = [False, True, False, False]
    options.DEFORM_MODULATED, options.DEFORM_NUM_GROUPS = True, 2
    resnet = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    kinds = {
        name: {type(b).__name__ for b in getattr(resnet, name)} for name in options.OUT_FEATURES
    }
    assert kinds == {
        "res2": {"BottleneckBlock"},
        "res3": {"DeformBottleneckBlock"},
        "res4": {"BottleneckBlock"},
    }
    assert resnet.res3[0].conv2_offset.out_channels == 27 * 2
    options.DEFORM_ON_PER_STAGE = [True]
    with pytest.raises(ValueError, match="wants a value for each"):
        build_resnet_backbone(cfg, ShapeSpec(channels=3))


def test_basic_blocks_are_not_deformable(cfg: CfgNode) -> None:
    options = cfg.MODEL.RESNETS
    options.DEPTH, options.RES2_OUT_CHANNELS = 18, 64
    options.DEFORM_ON_PER_STAGE = [False, False, False, True]
    with pytest.raises(ValueError, match="DEFORM_ON_PER_STAGE"):
        build_resnet_backbone(cfg, ShapeSpec(channels=3))
