"""Networks that turn images into feature maps."""

from .backbone import Backbone
from .build import BACKBONE_REGISTRY, build_backbone
from .classifier_backbone import ClassifierBackbone
from .classifier_from_config import (
    add_classifier_config,
    build_retinanet_timm_fpn_backbone,
    build_retinanet_torchvision_fpn_backbone,
    build_timm_backbone,
    build_timm_fpn_backbone,
    build_timm_simple_pyramid_backbone,
    build_torchvision_backbone,
    build_torchvision_fpn_backbone,
    build_torchvision_simple_pyramid_backbone,
)
from .deform_bottleneck import DeformBottleneckBlock
from .fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from .mvit import MViT
from .regnet import RegNet, ResBottleneckBlock, SimpleStem
from .relative_attention import relative_position_bias, relative_positions
from .resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from .resnet_from_config import (
    build_resnet_backbone,
    build_resnet_fpn_backbone,
    build_retinanet_resnet_fpn_backbone,
)
from .simple_feature_pyramid import SimpleFeaturePyramid
from .swin import SwinTransformer
from .timm_backbone import TimmBackbone
from .torchvision_backbone import TorchvisionBackbone
from .vit import ViT, get_vit_lr_decay_rate, transformer_layer_norm
from .window_attention import (
    PatchEmbed,
    absolute_positions,
    window_partition,
    window_unpartition,
)

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "ClassifierBackbone",
    "DeformBottleneckBlock",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "MViT",
    "PatchEmbed",
    "RegNet",
    "ResBottleneckBlock",
    "ResNet",
    "SimpleFeaturePyramid",
    "SimpleStem",
    "SwinTransformer",
    "TimmBackbone",
    "TorchvisionBackbone",
    "ViT",
    "absolute_positions",
    "add_classifier_config",
    "build_backbone",
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
    "build_retinanet_timm_fpn_backbone",
    "build_retinanet_torchvision_fpn_backbone",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "build_timm_simple_pyramid_backbone",
    "build_torchvision_backbone",
    "build_torchvision_fpn_backbone",
    "build_torchvision_simple_pyramid_backbone",
    "get_vit_lr_decay_rate",
    "relative_position_bias",
    "relative_positions",
    "transformer_layer_norm",
    "window_partition",
    "window_unpartition",
]
