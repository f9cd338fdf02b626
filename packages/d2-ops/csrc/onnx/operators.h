// The operators for ONNX Runtime. They take float32 and give what the torch operators give on the CPU.
#pragma once

#include "onnxruntime_table.h"

namespace d2_ops {

// NmsRotated(boxes (N, 5), scores (N,), iou_threshold () float64, idxs (N,) int64 or none) -> (K,) int64
const onnxruntime_table::OrtCustomOp* nms_rotated_operator();

// BoxIouRotated(boxes1 (N, 5), boxes2 (M, 5)) -> (N, M)
const onnxruntime_table::OrtCustomOp* box_iou_rotated_operator();

// RoiAlignRotated[spatial_scales, output_size, sampling_ratio](boxes (K, 6), levels (K,) int64,
// features (B, C, H, W) ...) -> (K, C, height, width)
const onnxruntime_table::OrtCustomOp* roi_align_rotated_operator();

// DecodeRotatedBoxes[weights, scale_clamp](deltas (N, k * 5), boxes (N, 5)) -> (N, k * 5)
const onnxruntime_table::OrtCustomOp* decode_rotated_boxes_operator();

// DeformColumns[kernel, stride, padding, dilation, groups](images (B, H, W, C),
// offset (B, D * taps * 2, H', W'), mask (B, D * taps, H', W') or none)
// -> (B, groups, H' * W', taps * C / groups): their product with the weights, taps before channels,
// is the deformable convolution.
const onnxruntime_table::OrtCustomOp* deform_columns_operator();

}  // namespace d2_ops
