// What roi_align and its backward ask of their arguments, on every device.
#pragma once

#include "d2_ops/roi_geometry.h"
#include "tensor_arguments.h"

namespace d2_ops {

constexpr int64_t kLongestAxis = int64_t(1) << 31;  // pixels are numbered in 32 bits

inline void check_roi_align_arguments(const Tensor& features, const char* features_name, const Tensor& boxes,
                                      const RoiAlignOptions& options, const char* op) {
  require(features.dim() == 4, op, ": ", features_name, " must have 4 dimensions, got ", features.dim());
  require_floating(features, op, features_name);
  require(features.size(2) < kLongestAxis && features.size(3) < kLongestAxis, op, ": ", features_name,
          " is 2^31 pixels long or more");
  require_matrix(boxes, 5, op, "boxes");
  require_floating(boxes, op, "boxes");
  require(boxes.get_device_index() == features.get_device_index(), op, ": boxes must be on the device of ",
          features_name);
  require(options.pooled_height > 0 && options.pooled_width > 0, op, ": output_size must be positive, got ",
          options.pooled_height, " x ", options.pooled_width);
}

// The gradient has one entry per RoI and the input's sizes are sizes.
inline void check_roi_align_gradient(const Tensor& grad, const Tensor& boxes, const RoiAlignOptions& options,
                                     int64_t batch, int64_t channels, int64_t height, int64_t width) {
  check_roi_align_arguments(grad, "grad", boxes, options, "roi_align_backward");
  require(grad.size(0) == boxes.size(0) && grad.size(1) == channels && grad.size(2) == options.pooled_height &&
              grad.size(3) == options.pooled_width,
          "roi_align_backward: grad does not have the shape of the output");
  require(batch >= 0 && channels >= 0 && height >= 0 && width >= 0, "roi_align_backward: negative input size");
}

}  // namespace d2_ops
