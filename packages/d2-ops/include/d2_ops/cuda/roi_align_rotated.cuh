// Rotated RoIAlign on the device: the kernels of roi_align.cuh with other samples.
#pragma once

#include <cstdint>

#include "../rotated_roi.h"
#include "roi_align.cuh"

namespace d2_ops {

template <class T>
struct RotatedBin {
  static constexpr int kRow = kRotatedRoiRow;
  RotatedRoi<T> region;
  bool usable;  // false where the RoI is not finite

  __device__ RotatedBin(const T* row, const LevelShape& level, const RoiAlignOptions& o)
      : region(row, level, o), usable(region.usable) {}

  __device__ T samples() const { return region.samples(); }

  template <class Visit>
  __device__ __forceinline__ void for_each_pixel(int64_t p, int64_t q, const LevelShape& level,
                                                 const Visit& visit) const {
    for_each_rotated_pixel(region, p, q, level.height, level.width, visit);
  }
};

}  // namespace d2_ops
