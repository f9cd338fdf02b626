"""Augmentation: policies, the transforms that they choose, and the data they work on."""

from d2_data.transforms.augmentation import AugInput, Augmentation, AugmentationList
from d2_data.transforms.color import (
    BlendTransform,
    ColorTransform,
    PILColorTransform,
    RandomBrightness,
    RandomContrast,
    RandomLighting,
    RandomSaturation,
)
from d2_data.transforms.crop import FixedSizeCrop, RandomCrop, RandomCrop_CategoryAreaConstraint
from d2_data.transforms.extent import ExtentTransform, RandomExtent
from d2_data.transforms.flip import HFlipTransform, RandomFlip, VFlipTransform
from d2_data.transforms.grid import GridSampleTransform
from d2_data.transforms.large_scale_jitter import LargeScaleJitter
from d2_data.transforms.random_application import RandomApply
from d2_data.transforms.resize import (
    Resize,
    ResizeScale,
    ResizeShortestEdge,
    ResizeTransform,
    ScaleTransform,
)
from d2_data.transforms.rotation import RandomRotation, RotationTransform
from d2_data.transforms.ssd_color import ColorAugSSD
from d2_data.transforms.transform import NoOpTransform, Transform, TransformList
from d2_data.transforms.windows import CropTransform, PadTransform

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "BlendTransform",
    "ColorAugSSD",
    "ColorTransform",
    "CropTransform",
    "ExtentTransform",
    "FixedSizeCrop",
    "GridSampleTransform",
    "HFlipTransform",
    "LargeScaleJitter",
    "NoOpTransform",
    "PILColorTransform",
    "PadTransform",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomCrop_CategoryAreaConstraint",
    "RandomExtent",
    "RandomFlip",
    "RandomLighting",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
    "ResizeTransform",
    "RotationTransform",
    "ScaleTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
]
