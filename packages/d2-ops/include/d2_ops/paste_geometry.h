// Where pasted masks are sampled: shared by the CPU and CUDA kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "pixel_range.h"
#include "platform.h"

namespace d2_ops {

// Along one axis: the pixels [first, end) that a box can write in an image of `extent` pixels.
template <class T>
D2_OPS_HOST_DEVICE PixelRange pasted_range(T low, T high, int64_t extent) {
  constexpr T kFar = T(1 << 30);
  if (!(high > low) || !(low > -kFar) || !(high < kFar)) return {0, 0};
  int64_t first = static_cast<int64_t>(floor(low)) - 1, end = static_cast<int64_t>(ceil(high)) + 1;
  if (first < 0) first = 0;
  if (end > extent) end = extent;
  return {first, end > first ? end : first};
}

// Position of a pixel's centre in mask cells, cell 0 centred at 0.
template <class T>
D2_OPS_HOST_DEVICE T mask_position(int64_t pixel, T low, T high, int64_t cells) {
  const T grid = (static_cast<T>(pixel) + T(0.5) - low) / (high - low) * T(2) - T(1);
  return ((grid + T(1)) * static_cast<T>(cells) - T(1)) / T(2);
}

// How a sampled value becomes a byte of the result: threshold < 0 keeps grey levels.
template <class T>
D2_OPS_HOST_DEVICE uint8_t mask_byte(T value, T threshold) {
  if (threshold >= T(0)) return value >= threshold ? 1 : 0;
  const T grey = value * T(255);
  return grey > T(0) ? static_cast<uint8_t>(grey < T(255) ? grey : T(255)) : 0;
}

// The two cells around a pixel's centre and their weights. Cells are counted in a mask padded by one
// row or column of zeros on each side, so both always exist.
template <class T>
struct CellPair {
  int64_t low;
  T low_weight, high_weight;
};

template <class T>
D2_OPS_HOST_DEVICE CellPair<T> cell_pair(int64_t pixel, T low, T high, int64_t cells) {
  T position = mask_position(pixel, low, high, cells);
  // Beyond the padding everything is zero, and stays so when moved onto it.
  if (position < T(-1)) position = T(-1);
  if (position > static_cast<T>(cells)) position = static_cast<T>(cells);
  int64_t cell = static_cast<int64_t>(floor(position)) + 1;
  if (cell > cells) cell = cells;
  const T high_weight = position + T(1) - static_cast<T>(cell);
  return {cell, T(1) - high_weight, high_weight};
}

}  // namespace d2_ops
