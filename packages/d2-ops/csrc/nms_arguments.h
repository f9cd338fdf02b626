// What nms, batched_nms and their rotated twins ask of their arguments, on every device.
#pragma once

#include <cmath>

#include "tensor_arguments.h"

namespace d2_ops {

inline void check_nms_arguments(const Tensor& boxes, int64_t columns, const Tensor& scores, const Tensor* idxs,
                                double iou_threshold, const char* op) {
  require_matrix(boxes, columns, op, "boxes");
  require_floating(boxes, op, "boxes");
  require_floating(scores, op, "scores");
  require(scores.dim() == 1 && scores.size(0) == boxes.size(0), op, ": scores must have shape (N,), one per box");
  require(scores.get_device_index() == boxes.get_device_index(), op, ": scores must be on the device of boxes");
  require(!std::isnan(iou_threshold), op, ": iou_threshold is NaN");
  require(boxes.size(0) < (int64_t(1) << 31), op, ": boxes has 2^31 rows or more");
  if (idxs == nullptr) return;
  require(idxs->scalar_type() == ScalarType::Long, op, ": idxs must be int64");
  require(idxs->dim() == 1 && idxs->size(0) == boxes.size(0), op, ": idxs must have shape (N,), one per box");
  require(idxs->get_device_index() == boxes.get_device_index(), op, ": idxs must be on the device of boxes");
}

}  // namespace d2_ops
