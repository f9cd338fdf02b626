"""Residual networks out of configs: published sizes, and options that do not fit."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec, build_backbone
from d2_modeling.backbone import build_resnet_backbone
from d2_modeling.layers import FrozenBatchNorm2d

CLASSIFIER = 2048 * 1000 + 1000
RGB = ShapeSpec(channels=3)


def resnet_cfg(**options: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.RESNETS.update(NORM="BN", OUT_FEATURES=["res2", "res3", "res4", "res5"], **options)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    return cfg


def built(cfg: CfgNode, shape: ShapeSpec = RGB) -> Any:
    with torch.device("meta"):
        return build_resnet_backbone(cfg, shape)


# What torchvision publishes beside its weights, classifier included.
PUBLISHED = {
    "resnet50": ({"DEPTH": 50}, 25_557_032),
    "resnet101": ({"DEPTH": 101}, 44_549_160),
    "resnet152": ({"DEPTH": 152}, 60_192_808),
    "resnext50_32x4d": ({"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4}, 25_028_904),
    "resnext101_32x8d": ({"DEPTH": 101, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8}, 88_791_336),
    "resnext101_64x4d": ({"DEPTH": 101, "NUM_GROUPS": 64, "WIDTH_PER_GROUP": 4}, 83_455_272),
    "wide_resnet50_2": ({"DEPTH": 50, "WIDTH_PER_GROUP": 128}, 68_883_240),
    "wide_resnet101_2": ({"DEPTH": 101, "WIDTH_PER_GROUP": 128}, 126_886_696),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_variant_has_its_published_number_of_parameters(name: str) -> None:
    options, with_classifier = PUBLISHED[name]
    backbone = built(resnet_cfg(**options))
    assert sum(p.numel() for p in backbone.parameters()) == with_classifier - CLASSIFIER


@pytest.mark.parametrize(("dilation", "stride"), [(1, 32), (2, 16)])
@pytest.mark.parametrize("in_1x1", [True, False])
def test_shapes_follow_width_stem_and_dilation(dilation: int, stride: int, in_1x1: bool) -> None:
    options = {"RES2_OUT_CHANNELS": 32, "STEM_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 8}
    cfg = resnet_cfg(RES5_DILATION=dilation, STRIDE_IN_1X1=in_1x1, **options)
    backbone = built(cfg)
    shapes = backbone.output_shape()
    assert [shape.channels for shape in shapes.values()] == [32, 64, 128, 256]
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, stride]
    assert backbone.stem.out_channels == 8
    block = backbone.get_submodule("res3.0")
    assert (block.conv1.stride[0], block.conv2.stride[0]) == ((2, 1) if in_1x1 else (1, 2))
    assert block.conv2.out_channels == 16


def test_a_dilated_map_is_twice_as_large() -> None:
    sizes = []
    for dilation in (1, 2):
        narrow = {"RES2_OUT_CHANNELS": 8, "STEM_OUT_CHANNELS": 4, "WIDTH_PER_GROUP": 4}
        cfg = resnet_cfg(RES5_DILATION=dilation, **narrow)
        backbone = build_resnet_backbone(cfg, RGB).eval()
        with torch.no_grad():
            sizes.append(backbone(torch.zeros(1, 3, 64, 96))["res5"].shape[2:])
    assert sizes == [(2, 3), (4, 6)]


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 5])
def test_the_first_stages_are_frozen_as_the_config_says(freeze_at: int) -> None:
    cfg = resnet_cfg()
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    backbone = built(cfg)
    order = ["stem", "res2", "res3", "res4", "res5"]
    trained = {n.split(".")[0] for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained == set(order[freeze_at:])


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("FrozenBN", FrozenBatchNorm2d), ("GN", nn.GroupNorm), ("SyncBN", nn.SyncBatchNorm)],
)
def test_the_norm_of_the_config_is_behind_every_convolution(norm: str, kind: Any) -> None:
    cfg = resnet_cfg()
    cfg.MODEL.RESNETS.NORM = norm
    backbone = built(cfg)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 53  # of a ResNet-50 without its classifier
    assert {type(layer.norm) for layer in convolutions} == {kind}


def test_stages_behind_the_last_output_are_not_built() -> None:
    cfg = resnet_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["stem", "res3"]
    backbone = built(cfg)
    assert {name for name, _ in backbone.named_children()} == {"stem", "res2", "res3"}
    cfg.MODEL.RESNETS.OUT_FEATURES = ["stem"]
    assert list(built(cfg).output_shape()) == ["stem"]


def test_images_have_as_many_channels_as_the_shape_says_or_three() -> None:
    assert built(resnet_cfg(), ShapeSpec(channels=6)).stem.conv1.in_channels == 6
    assert built(resnet_cfg(), ShapeSpec()).stem.conv1.in_channels == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"DEPTH": 49}, r"DEPTH 49 is not one of \[18, 34, 50, 101, 152\]"),
        ({"RES5_DILATION": 4}, "RES5_DILATION can be 1 or 2, got 4"),
        ({"DEFORM_ON_PER_STAGE": [True] * 5}, r"wants a value for each of \('res2', 'res3'"),
        ({"OUT_FEATURES": ["res6"]}, "out_features has unknown 'res6'"),
        ({"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NUM_GROUPS": 2}, r"got \{'NUM_GROUPS': 2\}"),
        (
            {"DEPTH": 34, "RES2_OUT_CHANNELS": 64, "RES5_DILATION": 2},
            r"depth 34 has basic blocks, .*got \{'RES5_DILATION': 2\}",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    cfg = resnet_cfg()
    cfg.MODEL.RESNETS.update(options)
    with pytest.raises(ValueError, match=message):
        built(cfg)


@pytest.mark.parametrize(
    ("name", "levels", "top"),
    [
        ("build_resnet_fpn_backbone", ["p2", "p3", "p4", "p5", "p6"], []),
        (
            "build_retinanet_resnet_fpn_backbone",
            ["p2", "p3", "p4", "p5", "p6", "p7"],
            [[8, 2048, 3, 3], [8, 8, 3, 3]],
        ),
    ],
)
@pytest.mark.parametrize("fuse_type", ["sum", "avg"])
def test_pyramids_follow_the_config(
    name: str, levels: list[str], top: list[list[int]], fuse_type: str
) -> None:
    cfg = resnet_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.FPN.update(
        IN_FEATURES=["res2", "res3", "res4", "res5"],
        OUT_CHANNELS=8,
        NORM="GN",
        FUSE_TYPE=fuse_type,
    )
    with torch.device("meta"):
        pyramid: Any = build_backbone(cfg)
    shapes = pyramid.output_shape()
    assert list(shapes) == levels
    assert {shape.channels for shape in shapes.values()} == {8}
    assert [shape.stride for shape in shapes.values()] == [2 ** int(k[1]) for k in levels]
    assert isinstance(pyramid.fpn_lateral2.norm, nn.GroupNorm)
    assert [list(p.shape) for p in pyramid.top_block.parameters() if p.dim() > 1] == top


def test_a_pyramid_of_an_unknown_kind_of_sum_is_refused() -> None:
    cfg = resnet_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.FPN.FUSE_TYPE = ["res4", "res5"], "max"
    with torch.device("meta"), pytest.raises(ValueError, match="'sum' or 'avg', got 'max'"):
        build_backbone(cfg)


def test_an_unknown_backbone_gets_a_suggestion() -> None:
    cfg = resnet_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbon"
    with pytest.raises(KeyError, match="build_resnet_backbone"):
        build_backbone(cfg)
