"""Networks that turn images into feature maps."""

from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from .resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "ResNet",
]
