// What decoding asks of its arguments, on every device.
#pragma once

#include <cmath>
#include <vector>

#include "d2_ops/box_coding.h"
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
  require(static_cast<int64_t>(weights.size()) == Coding::kRow, op, ": weights must have ", Coding::kRow,
          " values, got ", weights.size());
  for (const double weight : weights)
    require(weight != 0 && std::isfinite(weight), op, ": weights must be finite and not 0, got ", weight);
  require(!std::isnan(scale_clamp), op, ": scale_clamp is NaN");
}

inline void check_image_bounds(int64_t height, int64_t width, double min_size, double most_angle, const char* op) {
  require(height >= 0 && width >= 0, op, ": image_size must not be negative, got ", height, " x ", width);
  require(!std::isnan(min_size), op, ": min_size is NaN");
  require(!std::isnan(most_angle), op, ": clip_angle_threshold is NaN");
}

template <class T>
CodingOptions<T> coding_options(const std::vector<double>& weights, double scale_clamp) {
  CodingOptions<T> options{};
  for (size_t i = 0; i < weights.size(); ++i) options.weights[i] = static_cast<T>(weights[i]);
  options.scale_clamp = static_cast<T>(scale_clamp);
  return options;
}

template <class T>
ImageBounds<T> image_bounds(int64_t height, int64_t width, double min_size, double most_angle) {
  return {static_cast<T>(height), static_cast<T>(width), static_cast<T>(min_size), static_cast<T>(most_angle)};
}

}  // namespace d2_ops
