"""Layers that detectors are made of, and the operators of d2_ops under the same roof."""

from torch.nn import BatchNorm2d, ConvTranspose2d, Linear
from torch.nn.functional import interpolate

from d2_ops import (
    DeformConv,
    ModulatedDeformConv,
    ROIAlign,
    ROIAlignRotated,
    ROIPool,
    batched_nms,
    batched_nms_rotated,
    deform_conv2d,
    multilevel_roi_align,
    multilevel_roi_align_rotated,
    nms,
    nms_rotated,
    paste_masks_in_image,
    roi_align,
    roi_align_rotated,
    roi_pool,
)

from .aspp import ASPP
from .convolution import CNNBlockBase, Conv2d, DepthwiseSeparableConv2d
from .norm import FrozenBatchNorm2d, get_norm
from .shape_spec import ShapeSpec
from .sync_batch_norm import NaiveSyncBatchNorm
from .tensors import cat, cross_entropy, nonzero_tuple

__all__ = [
    "ASPP",
    "BatchNorm2d",
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "DeformConv",
    "DepthwiseSeparableConv2d",
    "FrozenBatchNorm2d",
    "Linear",
    "ModulatedDeformConv",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ROIAlignRotated",
    "ROIPool",
    "ShapeSpec",
    "batched_nms",
    "batched_nms_rotated",
    "cat",
    "cross_entropy",
    "deform_conv2d",
    "get_norm",
    "interpolate",
    "multilevel_roi_align",
    "multilevel_roi_align_rotated",
    "nms",
    "nms_rotated",
    "nonzero_tuple",
    "paste_masks_in_image",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
]
