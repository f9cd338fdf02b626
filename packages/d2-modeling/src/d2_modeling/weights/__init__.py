"""Pure functions on state dicts: other people's names, and what fits a model."""

from .caffe2_names import convert_caffe2_backbone, is_caffe2_backbone
from .matching import ShapeMismatch, WeightMatch, match_weights
from .torchvision_names import convert_torchvision_resnet, is_torchvision_resnet

__all__ = [
    "ShapeMismatch",
    "WeightMatch",
    "convert_caffe2_backbone",
    "convert_torchvision_resnet",
    "is_caffe2_backbone",
    "is_torchvision_resnet",
    "match_weights",
]
