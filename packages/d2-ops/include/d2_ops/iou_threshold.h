// Comparing in a kernel's arithmetic what the caller gave in float64.
#pragma once

#include <cmath>
#include <limits>

namespace d2_ops {

// The largest T not above the threshold: for every T, iou > threshold holds either way or neither.
template <class T>
T round_down(double threshold) {
  const T rounded = static_cast<T>(threshold);
  return rounded > threshold ? std::nextafter(rounded, -std::numeric_limits<T>::infinity()) : rounded;
}

}  // namespace d2_ops
