// What the pairwise overlaps of boxes ask of their arguments, on every device.
#pragma once

#include "d2_ops/box_overlap.h"
#include "tensor_arguments.h"

namespace d2_ops {

inline void check_pairwise_arguments(const Tensor& boxes1, const Tensor& boxes2, const char* op) {
  require_matrix(boxes1, kBoxRow, op, "boxes1");
  require_matrix(boxes2, kBoxRow, op, "boxes2");
  require_floating(boxes1, op, "boxes1");
  require(boxes2.scalar_type() == boxes1.scalar_type(), op, ": boxes2 must have the dtype of boxes1");
  require(boxes2.get_device_index() == boxes1.get_device_index(), op, ": boxes2 must be on the device of boxes1");
}

}  // namespace d2_ops
