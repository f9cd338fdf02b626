// What pooling asks of numbers, whatever holds them.
#pragma once

#include <cstdint>

#include "d2_ops/feature_levels.h"
#include "require.h"

namespace d2_ops {

constexpr int64_t kMostPixels = int64_t(1) << 31;  // pixels are numbered in 32 bits
constexpr int64_t kMostSamples = 1 << 16;  // more, and a single bin takes seconds

inline void check_level_count(int64_t maps, const char* op) {
  require(maps >= 1 && maps <= kMostLevels, op, ": from 1 to ", kMostLevels, " feature maps can be pooled, got ", maps);
}

inline void check_output_size(int64_t height, int64_t width, const char* op) {
  require(height > 0 && width > 0, op, ": output_size must be positive, got ", height, " x ", width);
}

inline void check_plane(int64_t height, int64_t width, const char* op) {
  require(height < kMostPixels && width < kMostPixels && height * width < kMostPixels, op,
          ": a feature map has 2^31 pixels or more");
}

inline void check_sampling_ratio(int64_t sampling_ratio, const char* op) {
  require(sampling_ratio <= kMostSamples, op, ": sampling_ratio must be at most ", kMostSamples, ", got ",
          sampling_ratio);
}

// On a device, checking these would stall the host.
template <class F, class T>
void require_images_and_levels(const FeatureLevels<F>& maps, const T* rois, int64_t columns, int64_t count,
                               const char* op) {
  for (int64_t k = 0; k < count; ++k) {
    const T image = rois[columns * k];
    require(image >= 0 && image < static_cast<T>(maps.images), op, ": boxes[", k, ", 0] is ", image,
            ", not the index of one of ", maps.images, " images");
    const int64_t level = maps.level_of(k);
    require(level >= 0 && level < maps.count, op, ": levels[", k, "] is ", level, ", not the index of one of ",
            maps.count, " feature maps");
  }
}

}  // namespace d2_ops
