// What decoding asks of its arguments, on every device.
#pragma once

#include <cmath>
#include <vector>

#include "coding_options.h"
#include "tensor_arguments.h"

namespace d2_ops {

template <class Coding>
void check_decode_arguments(const Tensor& deltas, const Tensor& boxes, const std::vector<double>& weights,
                            double scale_clamp, const char* op) {
  require_matrix(boxes, Coding::kRow, op, "boxes");
  require_floating(boxes, op, "boxes");
  require_floating(deltas, op, "deltas");
  require(deltas.dim() == 2 && deltas.size(0) == boxes.size(0) && deltas.size(1) % Coding::kRow == 0, op,
          ": deltas must have shape (N, k * ", Coding::kRow, ") for N boxes");
  require(deltas.get_device_index() == boxes.get_device_index(), op, ": deltas must be on the device of boxes");
  check_coding_options<Coding>(weights, scale_clamp, op);
}

inline void check_image_bounds(int64_t height, int64_t width, double min_size, double most_angle, const char* op) {
  require(height >= 0 && width >= 0, op, ": image_size must not be negative, got ", height, " x ", width);
  require(!std::isnan(min_size), op, ": min_size is NaN");
  require(!std::isnan(most_angle), op, ": clip_angle_threshold is NaN");
}

template <class T>
ImageBounds<T> image_bounds(int64_t height, int64_t width, double min_size, double most_angle) {
  return {static_cast<T>(height), static_cast<T>(width), static_cast<T>(min_size), static_cast<T>(most_angle)};
}

}  // namespace d2_ops
