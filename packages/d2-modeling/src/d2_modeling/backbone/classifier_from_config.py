"""Classification models of torchvision and timm as configs describe them."""

from __future__ import annotations

from typing import Any

from d2_config import CfgNode

from ..layers import ShapeSpec
from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .fpn import FPN, LastLevelMaxPool
from .resnet_from_config import pyramid_from_config, pyramid_with_p6_p7
from .simple_feature_pyramid import SimpleFeaturePyramid
from .timm_backbone import TimmBackbone
from .torchvision_backbone import TorchvisionBackbone

_SCALES = (4.0, 2.0, 1.0, 0.5)


def add_classifier_config(cfg: CfgNode) -> None:
    """Add the options of ``build_torchvision_backbone`` and ``build_timm_backbone``, in place.

    ``cfg.MODEL.BACKBONE.FREEZE_AT`` counts for them, too.
    """
    cfg.MODEL.CLASSIFIER = CfgNode(
        {
            "NAME": "resnet50",  # of the model in its library
            "PRETRAINED": False,  # load the library's ImageNet weights, which it downloads
            "CHECKPOINT": "",  # file with the model's weights, loaded instead
            "OUT_FEATURES": [],  # among "res1" to "res5"; all from "res2" on if empty
            "FREEZE_NORMS": False,  # keep statistics and parameters of batch norms
            "USE_ACT_CHECKPOINT": False,  # recompute blocks in backward
            "SQUARE_SIZE": 0,  # side of the images, for a model that takes one size only
        }
    )


@BACKBONE_REGISTRY.register()
def build_torchvision_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TorchvisionBackbone:
    """Build the model of torchvision that ``cfg.MODEL.CLASSIFIER`` names.

    Args:
        cfg: the whole config, with the options of `add_classifier_config`.
        input_shape: its ``channels`` are those of the images; torchvision's models take 3.

    Raises:
        ValueError: if images do not have 3 channels.
    """
    if input_shape.channels not in (None, 3):
        raise ValueError(
            f"models of torchvision take images of 3 channels, got {input_shape.channels}: "
            "MODEL.PIXEL_MEAN has so many values. Models of timm take any number"
        )
    return TorchvisionBackbone(_options(cfg).NAME, **_arguments(cfg))


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """Build the model of timm that ``cfg.MODEL.CLASSIFIER`` names.

    Args:
        cfg: the whole config, with the options of `add_classifier_config`.
        input_shape: its ``channels`` are those of the images.
    """
    return TimmBackbone(_options(cfg).NAME, in_chans=input_shape.channels or 3, **_arguments(cfg))


@BACKBONE_REGISTRY.register()
def build_torchvision_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on it, with a pooled level on top."""
    return pyramid_from_config(
        cfg, build_torchvision_backbone(cfg, input_shape), LastLevelMaxPool()
    )


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on it, with a pooled level on top."""
    return pyramid_from_config(cfg, build_timm_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_torchvision_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on it, with two convolved levels on top."""
    return pyramid_with_p6_p7(cfg, build_torchvision_backbone(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_retinanet_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on it, with two convolved levels on top."""
    return pyramid_with_p6_p7(cfg, build_timm_backbone(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_torchvision_simple_pyramid_backbone(
    cfg: CfgNode, input_shape: ShapeSpec
) -> SimpleFeaturePyramid:
    """Build a `SimpleFeaturePyramid` on the one map of a plain transformer."""
    return _simple_pyramid(cfg, build_torchvision_backbone(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_timm_simple_pyramid_backbone(
    cfg: CfgNode, input_shape: ShapeSpec
) -> SimpleFeaturePyramid:
    """Build a `SimpleFeaturePyramid` on the one map of a plain transformer, such as DINOv2."""
    return _simple_pyramid(cfg, build_timm_backbone(cfg, input_shape))


def _simple_pyramid(cfg: CfgNode, net: Backbone) -> SimpleFeaturePyramid:
    return SimpleFeaturePyramid(
        net,
        list(net.output_shape())[-1],
        cfg.MODEL.FPN.OUT_CHANNELS,
        _SCALES,
        top_block=LastLevelMaxPool(),
        norm=cfg.MODEL.FPN.NORM or "LN",
    )


def _options(cfg: CfgNode) -> Any:
    if "CLASSIFIER" not in cfg.MODEL:
        raise KeyError(
            "the config has no MODEL.CLASSIFIER: call "
            "d2_modeling.backbone.add_classifier_config(cfg) before reading the file"
        )
    return cfg.MODEL.CLASSIFIER


def _arguments(cfg: CfgNode) -> dict[str, Any]:
    options = _options(cfg)
    return {
        "pretrained": options.PRETRAINED,
        "checkpoint": options.CHECKPOINT,
        "out_features": list(options.OUT_FEATURES) or None,
        "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        "freeze_norms": options.FREEZE_NORMS,
        "use_act_checkpoint": options.USE_ACT_CHECKPOINT,
        "square_size": options.SQUARE_SIZE,
    }
