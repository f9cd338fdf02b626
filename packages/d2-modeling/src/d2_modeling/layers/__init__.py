"""Layers that detectors are made of, and the operators of d2_ops under the same roof."""

from torch.nn import BatchNorm2d, ConvTranspose2d, Linear
from torch.nn.functional import interpolate

from d2_ops import ROIAlign, batched_nms, nms, paste_masks_in_image, roi_align

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
    "DepthwiseSeparableConv2d",
    "FrozenBatchNorm2d",
    "Linear",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ShapeSpec",
    "batched_nms",
    "cat",
    "cross_entropy",
    "get_norm",
    "interpolate",
    "nms",
    "nonzero_tuple",
    "paste_masks_in_image",
    "roi_align",
]
