"""Files of weights, and pure functions on state dicts: other names, and what fits a model."""

from .caffe2_detection_names import convert_caffe2_detector, is_caffe2_detector
from .caffe2_names import convert_caffe2_backbone, is_caffe2_backbone
from .checksums import DamagedFileError, add_checksum, verify_checksums
from .matching import ShapeMismatch, WeightMatch, match_weights
from .reading import read_checkpoint
from .recognition import match_checkpoint
from .state_dicts import names_of_nonfinite, tensors_of
from .torchvision_detection_names import (
    convert_torchvision_detector,
    is_torchvision_detector,
)
from .torchvision_names import convert_torchvision_resnet, is_torchvision_resnet

__all__ = [
    "DamagedFileError",
    "ShapeMismatch",
    "WeightMatch",
    "add_checksum",
    "convert_caffe2_backbone",
    "convert_caffe2_detector",
    "convert_torchvision_detector",
    "convert_torchvision_resnet",
    "is_caffe2_backbone",
    "is_caffe2_detector",
    "is_torchvision_detector",
    "is_torchvision_resnet",
    "match_checkpoint",
    "match_weights",
    "names_of_nonfinite",
    "read_checkpoint",
    "tensors_of",
    "verify_checksums",
]
