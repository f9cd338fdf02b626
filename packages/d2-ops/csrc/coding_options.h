// How boxes are encoded, as the kernels take it.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "d2_ops/box_coding.h"
#include "require.h"

namespace d2_ops {

template <class Coding>
void check_coding_options(const std::vector<double>& weights, double scale_clamp, const char* op) {
  require(static_cast<int64_t>(weights.size()) == Coding::kRow, op, ": weights must have ", Coding::kRow,
          " values, got ", weights.size());
  for (const double weight : weights)
    require(weight != 0 && std::isfinite(weight), op, ": weights must be finite and not 0, got ", weight);
  require(!std::isnan(scale_clamp), op, ": scale_clamp is NaN");
}

template <class T>
CodingOptions<T> coding_options(const std::vector<double>& weights, double scale_clamp) {
  CodingOptions<T> options{};
  for (size_t i = 0; i < weights.size(); ++i) options.weights[i] = static_cast<T>(weights[i]);
  options.scale_clamp = static_cast<T>(scale_clamp);
  return options;
}

}  // namespace d2_ops
