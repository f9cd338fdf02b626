"""TridentNet: branches that share their weights and differ in what they see around a pixel.

Source: Li et al., "Scale-Aware Trident Networks for Object Detection", 2019.
"""

from .backbone import TridentBottleneckBlock, TridentConv, build_trident_resnet_backbone
from .config import add_tridentnet_config
from .detector import (
    TridentRes5ROIHeads,
    TridentRPN,
    TridentStandardROIHeads,
    merge_branch_instances,
)

__all__ = [
    "TridentBottleneckBlock",
    "TridentConv",
    "TridentRPN",
    "TridentRes5ROIHeads",
    "TridentStandardROIHeads",
    "add_tridentnet_config",
    "build_trident_resnet_backbone",
    "merge_branch_instances",
]
