// What roi_pool_backward asks of its argmax; the rest is in roi_arguments.h.
#pragma once

#include "roi_arguments.h"

namespace d2_ops {

inline void check_argmax(const Tensor& argmax, const Tensor& grad) {
  const char* op = "roi_pool_backward";
  require(argmax.scalar_type() == ScalarType::Int, op, ": argmax must be int32");
  require(argmax.get_device_index() == grad.get_device_index(), op, ": argmax must be on the device of grad");
  require(argmax.dim() == 4 && grad.dim() == 4, op, ": argmax and grad must have 4 dimensions");
  for (int i = 0; i < 4; ++i) require(argmax.size(i) == grad.size(i), op, ": argmax must have the shape of grad");
}

}  // namespace d2_ops
