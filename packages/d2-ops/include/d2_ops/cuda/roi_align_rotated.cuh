// Rotated RoIAlign on the device: the kernels of roi_align.cuh with other samples.
#pragma once

#include <cstdint>

#include "../rotated_roi.h"
#include "roi_align.cuh"

namespace d2_ops {

template <class T>
struct RotatedRoiBin {
  int64_t roi, channel, p, q, image;
  RotatedRoi<T> region;
  bool usable;  // false where the RoI is not finite or names no image

  __device__ RotatedRoiBin(int64_t item, const T* rois, const FeatureShape& shape, const RoiAlignOptions& o)
      : roi(item / (o.pooled_width * o.pooled_height) / shape.channels),
        channel(item / (o.pooled_width * o.pooled_height) % shape.channels),
        p(item / o.pooled_width % o.pooled_height),
        q(item % o.pooled_width),
        region(rois + kRotatedRoiRow * roi, shape.height, shape.width, o) {
    const T named = rois[kRotatedRoiRow * roi];
    usable = region.usable && named >= T(0) && named < static_cast<T>(shape.images);
    image = usable ? static_cast<int64_t>(named) : 0;
  }

  __device__ T samples() const { return region.samples(); }
};

template <class T, class Visit>
__device__ __forceinline__ void for_each_pixel(const RotatedRoiBin<T>& bin, const FeatureShape& shape,
                                               const Visit& visit) {
  for_each_rotated_pixel(bin.region, bin.p, bin.q, shape.height, shape.width, visit);
}

}  // namespace d2_ops
