"""``detectron2._C``: compiled functions that projects call past the Python layers."""

import torch
from torch import Tensor

from d2_ops import box_iou_rotated, nms_rotated, roi_align_rotated

__all__ = [
    "box_iou_rotated",
    "get_compiler_version",
    "get_cuda_version",
    "has_cuda",
    "nms_rotated",
    "roi_align_rotated_forward",
]


def get_cuda_version() -> str:
    """The version of CUDA that torch is built for; empty without."""
    return torch.version.cuda or ""


def get_compiler_version() -> str:
    """What torch is built with, in one line."""
    return torch.__config__.show().splitlines()[1].strip(" -")


def has_cuda() -> bool:
    """Whether torch is built for CUDA."""
    return torch.version.cuda is not None


def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
) -> Tensor:
    """`d2_ops.roi_align_rotated` with the size in two numbers."""
    return roi_align_rotated(
        input, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio
    )
