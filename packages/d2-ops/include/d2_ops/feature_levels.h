// The feature maps that RoIs are pooled from: a single one, or the levels of a pyramid.
#pragma once

#include <cstdint>

#include "platform.h"

namespace d2_ops {

struct LevelShape {
  int64_t height, width;
  double spatial_scale;  // multiplies box coordinates into pixels of this level
};

template <class T>
struct FeatureLevel : LevelShape {
  T* data;  // (images, channels, height, width)
};

constexpr int64_t kMostLevels = 16;  // whose strides differ by a factor of 2^15

// Passed to kernels by value.
template <class T>
struct FeatureLevels {
  int64_t images, channels, count;
  const int64_t* of_roi;  // the level of each RoI; null: all in the first
  FeatureLevel<T> level[kMostLevels];

  D2_OPS_HOST_DEVICE int64_t level_of(int64_t roi) const { return of_roi == nullptr ? 0 : of_roi[roi]; }

  D2_OPS_HOST_DEVICE T* plane(int64_t level_index, int64_t image, int64_t channel) const {
    const FeatureLevel<T>& chosen = level[level_index];
    return chosen.data + (image * channels + channel) * chosen.height * chosen.width;
  }
};

}  // namespace d2_ops
