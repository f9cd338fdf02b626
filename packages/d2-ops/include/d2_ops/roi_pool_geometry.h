// The pixels of the bins of RoI pooling: shared by the CPU and CUDA kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "pixel_range.h"
#include "platform.h"

namespace d2_ops {

struct RoiPoolOptions {
  int64_t pooled_height, pooled_width;
};

// One axis of one RoI: from the pixel nearest to its lower side to the one nearest to its upper side.
template <class T>
struct RoiPoolAxis {
  int64_t start;
  T bin;        // length of a bin in pixels
  bool usable;  // false for coordinates that are not finite or beyond any feature map

  D2_OPS_HOST_DEVICE RoiPoolAxis(T low, T high, double spatial_scale, int64_t bins) {
    constexpr T kFarthest = T(1 << 30);
    const T first = round(low * static_cast<T>(spatial_scale)), last = round(high * static_cast<T>(spatial_scale));
    usable = fabs(first) <= kFarthest && fabs(last) <= kFarthest;  // written so that NaN fails it
    start = usable ? static_cast<int64_t>(first) : 0;
    const int64_t size = usable ? static_cast<int64_t>(last) - start + 1 : 1;
    bin = static_cast<T>(size > 1 ? size : 1) / static_cast<T>(bins);
  }

  // The pixels of bin b within the map. Neighbouring bins share the pixels that they cut.
  D2_OPS_HOST_DEVICE PixelRange pixels(int64_t b, int64_t extent) const {
    const int64_t first = start + static_cast<int64_t>(floor(static_cast<T>(b) * bin));
    const int64_t end = start + static_cast<int64_t>(ceil(static_cast<T>(b + 1) * bin));
    return {first < 0 ? 0 : first < extent ? first : extent, end < 0 ? 0 : end < extent ? end : extent};
  }
};

}  // namespace d2_ops
