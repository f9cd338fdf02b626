"""Detection kernels for PyTorch and NumPy. Names are imported when they are first used."""

from typing import TYPE_CHECKING

from ._lazy import lazy_names

if TYPE_CHECKING:
    from . import host, memory, overlay
    from ._box_iou_rotated import box_iou_rotated
    from ._box_losses import ciou_loss, diou_loss, giou_loss, smooth_l1_loss
    from ._build_info import build_info
    from ._cmake import cmake_dir
    from ._decode_boxes import (
        decode_and_clip_boxes,
        decode_and_clip_rotated_boxes,
        decode_boxes,
        decode_rotated_boxes,
    )
    from ._deform_conv import DeformConv, ModulatedDeformConv, deform_conv2d
    from ._match_anchors import match_anchors
    from ._multi_scale_deformable_attention import multi_scale_deformable_attention
    from ._multilevel_roi_align import (
        assign_to_pyramid,
        multilevel_roi_align,
        multilevel_roi_align_rotated,
        pyramid_levels,
    )
    from ._nms import (
        batched_nms,
        batched_nms_of_all,
        batched_nms_rotated,
        batched_nms_rotated_of_all,
        nms,
        nms_rotated,
    )
    from ._onnx_library import onnx_library
    from ._operators import load_library
    from ._pairwise_boxes import pairwise_giou, pairwise_ioa, pairwise_iou
    from ._paste_masks import paste_masks_in_image
    from ._roi_align import ROIAlign, roi_align
    from ._roi_align_rotated import ROIAlignRotated, roi_align_rotated
    from ._roi_pool import ROIPool, roi_pool
    from ._sigmoid_focal_loss import sigmoid_focal_loss

__all__ = [
    "DeformConv",
    "ModulatedDeformConv",
    "ROIAlign",
    "ROIAlignRotated",
    "ROIPool",
    "assign_to_pyramid",
    "batched_nms",
    "batched_nms_of_all",
    "batched_nms_rotated",
    "batched_nms_rotated_of_all",
    "box_iou_rotated",
    "build_info",
    "ciou_loss",
    "cmake_dir",
    "decode_and_clip_boxes",
    "decode_and_clip_rotated_boxes",
    "decode_boxes",
    "decode_rotated_boxes",
    "deform_conv2d",
    "diou_loss",
    "giou_loss",
    "host",
    "load_library",
    "match_anchors",
    "memory",
    "multi_scale_deformable_attention",
    "multilevel_roi_align",
    "multilevel_roi_align_rotated",
    "nms",
    "nms_rotated",
    "onnx_library",
    "overlay",
    "pairwise_giou",
    "pairwise_ioa",
    "pairwise_iou",
    "paste_masks_in_image",
    "pyramid_levels",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DeformConv": "_deform_conv",
        "ModulatedDeformConv": "_deform_conv",
        "ROIAlign": "_roi_align",
        "ROIAlignRotated": "_roi_align_rotated",
        "ROIPool": "_roi_pool",
        "assign_to_pyramid": "_multilevel_roi_align",
        "batched_nms": "_nms",
        "batched_nms_of_all": "_nms",
        "batched_nms_rotated": "_nms",
        "batched_nms_rotated_of_all": "_nms",
        "box_iou_rotated": "_box_iou_rotated",
        "build_info": "_build_info",
        "ciou_loss": "_box_losses",
        "cmake_dir": "_cmake",
        "decode_and_clip_boxes": "_decode_boxes",
        "decode_and_clip_rotated_boxes": "_decode_boxes",
        "decode_boxes": "_decode_boxes",
        "decode_rotated_boxes": "_decode_boxes",
        "deform_conv2d": "_deform_conv",
        "diou_loss": "_box_losses",
        "giou_loss": "_box_losses",
        "host": None,
        "load_library": "_operators",
        "match_anchors": "_match_anchors",
        "memory": None,
        "multi_scale_deformable_attention": "_multi_scale_deformable_attention",
        "multilevel_roi_align": "_multilevel_roi_align",
        "multilevel_roi_align_rotated": "_multilevel_roi_align",
        "nms": "_nms",
        "nms_rotated": "_nms",
        "onnx_library": "_onnx_library",
        "overlay": None,
        "pairwise_giou": "_pairwise_boxes",
        "pairwise_ioa": "_pairwise_boxes",
        "pairwise_iou": "_pairwise_boxes",
        "paste_masks_in_image": "_paste_masks",
        "pyramid_levels": "_multilevel_roi_align",
        "roi_align": "_roi_align",
        "roi_align_rotated": "_roi_align_rotated",
        "roi_pool": "_roi_pool",
        "sigmoid_focal_loss": "_sigmoid_focal_loss",
        "smooth_l1_loss": "_box_losses",
    },
)
