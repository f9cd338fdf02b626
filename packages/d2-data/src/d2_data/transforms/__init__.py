"""Augmentation: policies, the transforms that they choose, and the data they work on."""

from d2_data.transforms.augmentation import AugInput, Augmentation, AugmentationList
from d2_data.transforms.color_augmentations import (
    RandomBrightness,
    RandomContrast,
    RandomLighting,
    RandomSaturation,
)
from d2_data.transforms.color_transforms import BlendTransform, ColorTransform, PILColorTransform
from d2_data.transforms.crop_augmentations import (
    FixedSizeCrop,
    RandomCrop,
    RandomCrop_CategoryAreaConstraint,
)
from d2_data.transforms.flip_transforms import HFlipTransform, VFlipTransform
from d2_data.transforms.geometry_augmentations import RandomExtent, RandomRotation
from d2_data.transforms.random_application import RandomApply, RandomFlip
from d2_data.transforms.resize_augmentations import Resize, ResizeScale, ResizeShortestEdge
from d2_data.transforms.resize_transforms import (
    ExtentTransform,
    GridSampleTransform,
    ResizeTransform,
    ScaleTransform,
)
from d2_data.transforms.rotation_transform import RotationTransform
from d2_data.transforms.transform import NoOpTransform, Transform, TransformList
from d2_data.transforms.window_transforms import CropTransform, PadTransform

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "BlendTransform",
    "ColorTransform",
    "CropTransform",
    "ExtentTransform",
    "FixedSizeCrop",
    "GridSampleTransform",
    "HFlipTransform",
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
