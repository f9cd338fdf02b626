// Rotated boxes made ready on the device.
#pragma once

#include "d2_ops/cuda/box_iou_rotated.cuh"
#include "device.h"

namespace d2_ops {

// The RotatedBox of each row of (N, 5) boxes, as float64 numbers.
inline Tensor rotated_boxes(const Tensor& boxes) {
  const Tensor rows = contiguous_as(boxes, ScalarType::Double);
  const int64_t n = rows.size(0);
  const Tensor prepared = torch::stable::new_empty(rows, {n, sizeof(RotatedBox) / sizeof(double)});
  if (n == 0) return prepared;
  prepare_rotated_boxes<<<blocks_for(n), kThreads, 0, current_stream(boxes)>>>(data<double>(rows), n,
                                                                               mutable_data<RotatedBox>(prepared));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return prepared;
}

}  // namespace d2_ops
