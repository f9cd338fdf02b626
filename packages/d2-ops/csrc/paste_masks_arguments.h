// What paste_masks_in_image asks of its arguments, on every device.
#pragma once

#include <cmath>

#include "tensor_arguments.h"

namespace d2_ops {

inline void check_paste_masks_arguments(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width,
                                        double threshold) {
  constexpr const char* op = "paste_masks_in_image";
  require(masks.dim() == 3, op, ": masks must have 3 dimensions, got ", masks.dim());
  require_floating(masks, op, "masks");
  require_matrix(boxes, 4, op, "boxes");
  require_floating(boxes, op, "boxes");
  require(boxes.size(0) == masks.size(0), op, ": ", masks.size(0), " masks but ", boxes.size(0), " boxes");
  require(boxes.get_device_index() == masks.get_device_index(), op, ": boxes must be on the device of masks");
  require(height >= 0 && width >= 0, op, ": image_shape must not be negative, got ", height, " x ", width);
  require(!std::isnan(threshold), op, ": threshold is NaN");
}

inline ScalarType pasted_type(double threshold) { return threshold >= 0 ? ScalarType::Bool : ScalarType::Byte; }

}  // namespace d2_ops
