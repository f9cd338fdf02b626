// Where RoIAlign samples: shared by the CPU and CUDA kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "platform.h"

namespace d2_ops {

constexpr int kRoiRow = 5;  // image, then the corners of a box

struct RoiAlignOptions {
  int64_t pooled_height, pooled_width;
  int64_t sampling_ratio;  // samples per bin and axis; <= 0: as many as the bin is pixels long
  bool aligned;            // shift by half a pixel, and no minimum size
};

// One axis of one RoI, in pixels of the feature map.
template <class T>
struct RoiAxis {
  T start;       // of the first bin
  T bin;         // length of a bin
  int64_t grid;  // samples per bin
  bool usable;   // false for coordinates that are not finite or beyond any feature map

  // Position of sample i of bin b.
  D2_OPS_HOST_DEVICE T sample(int64_t b, int64_t i) const {
    return start + static_cast<T>(b) * bin + (static_cast<T>(i) + T(0.5)) * bin / static_cast<T>(grid);
  }
};

// An axis that starts here and is so long, in pixels.
template <class T>
D2_OPS_HOST_DEVICE RoiAxis<T> roi_axis(T start, T size, int64_t pooled, int64_t sampling_ratio) {
  constexpr T kLongestBin = T(1 << 30);
  RoiAxis<T> axis;
  axis.start = start;
  axis.bin = size / static_cast<T>(pooled);
  // Written so that NaN fails it.
  axis.usable = fabs(axis.start) <= kLongestBin && fabs(axis.bin) <= kLongestBin;
  axis.grid = 0;
  if (axis.usable) {
    axis.grid = sampling_ratio > 0 ? sampling_ratio : static_cast<int64_t>(ceil(axis.bin));
    if (axis.grid < 0) axis.grid = 0;
  }
  return axis;
}

// The axis between two coordinates of a box.
template <class T>
D2_OPS_HOST_DEVICE RoiAxis<T> roi_axis(T low, T high, T scale, int64_t pooled, int64_t sampling_ratio,
                                       bool aligned) {
  const T offset = aligned ? T(0.5) : T(0);
  const T start = low * scale - offset;
  T size = high * scale - offset - start;
  if (!aligned && size < T(1)) size = T(1);
  return roi_axis(start, size, pooled, sampling_ratio);
}

// The samples of bin b that can lie within [from, to] are among [first, last): the rest of a bin
// that reaches far outside of the feature map is skipped without being visited.
template <class T>
D2_OPS_HOST_DEVICE void samples_between(const RoiAxis<T>& axis, int64_t b, double from, double to, int64_t* first,
                                        int64_t* last) {
  *first = 0;
  *last = axis.grid;
  const double pitch = static_cast<double>(axis.bin) / static_cast<double>(axis.grid);
  if (axis.grid <= 8 || !(pitch > 0)) return;
  const double base = static_cast<double>(axis.start) + static_cast<double>(b) * static_cast<double>(axis.bin);
  const double low = (from - base) / pitch - 2.0;
  const double high = (to - base) / pitch + 2.0;
  const double grid = static_cast<double>(axis.grid);
  if (low > 0) *first = static_cast<int64_t>(low < grid ? low : grid);
  if (high < grid) *last = static_cast<int64_t>(high > 0 ? high : 0);
}

template <class T>
D2_OPS_HOST_DEVICE void samples_near_map(const RoiAxis<T>& axis, int64_t b, int64_t extent, int64_t* first,
                                         int64_t* last) {
  samples_between(axis, b, -1.0, static_cast<double>(extent), first, last);
}

// The two pixels around a sample and how much each counts.
template <class T>
struct LinearSample {
  int64_t low, high;
  T low_weight, high_weight;
};

// False for samples more than a pixel outside of the map: they contribute zero.
template <class T>
D2_OPS_HOST_DEVICE bool linear_sample(T position, int64_t extent, LinearSample<T>* sample) {
  if (!(position >= T(-1) && position <= static_cast<T>(extent)) || extent == 0) return false;
  if (position < T(0)) position = T(0);
  sample->low = static_cast<int64_t>(position);
  if (sample->low >= extent - 1) {
    sample->low = sample->high = extent - 1;
    position = static_cast<T>(sample->low);
  } else {
    sample->high = sample->low + 1;
  }
  sample->high_weight = position - static_cast<T>(sample->low);
  sample->low_weight = T(1) - sample->high_weight;
  return true;
}

}  // namespace d2_ops
