// RoI pooling on the device: one thread per output value.
#pragma once

#include <cstdint>

#include "../roi_pool_geometry.h"
#include "roi_align.cuh"

namespace d2_ops {

// S: type of the features; T: type of the boxes and of their arithmetic.
template <class S, class T>
__global__ void roi_pool_forward(FeatureLevels<const S> levels, const T* rois, int64_t items, RoiPoolOptions options,
                                 S* out, int32_t* argmax) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const PooledIndex at(item, levels.channels, options.pooled_height, options.pooled_width);
    const T* row = rois + kRoiRow * at.roi;
    const RoiPlace place(levels, at.roi, row[0]);
    const LevelShape& shape = levels.level[place.level];
    const RoiPoolAxis<T> x(row[1], row[3], shape.spatial_scale, options.pooled_width);
    const RoiPoolAxis<T> y(row[2], row[4], shape.spatial_scale, options.pooled_height);
    const bool usable = place.valid && x.usable && y.usable;
    T largest = usable ? T(0) : static_cast<T>(nan(""));
    int64_t where = -1;
    if (usable) {
      const S* plane = levels.plane(place.level, place.image, at.channel);
      const PixelRange rows = y.pixels(at.p, shape.height), columns = x.pixels(at.q, shape.width);
      for (int64_t i = rows.first; i < rows.end; ++i) {
        for (int64_t j = columns.first; j < columns.end; ++j) {
          const T value = static_cast<T>(plane[i * shape.width + j]);
          if (where >= 0 && !(value > largest || value != value)) continue;
          largest = value;
          where = i * shape.width + j;
        }
      }
    }
    out[item] = static_cast<S>(largest);
    argmax[item] = static_cast<int32_t>(where);
  }
}

// Adds to the levels, zeros at first. The order of additions, hence the last bits, vary from run to run.
template <class S, class T>
__global__ void roi_pool_backward(const S* grad_out, const int32_t* argmax, const T* rois, int64_t items,
                                  RoiPoolOptions options, FeatureLevels<T> grad_levels) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const PooledIndex at(item, grad_levels.channels, options.pooled_height, options.pooled_width);
    const RoiPlace place(grad_levels, at.roi, rois[kRoiRow * at.roi]);
    const LevelShape& shape = grad_levels.level[place.level];
    if (!place.valid || argmax[item] < 0 || argmax[item] >= shape.height * shape.width) continue;
    atomicAdd(grad_levels.plane(place.level, place.image, at.channel) + argmax[item], static_cast<T>(grad_out[item]));
  }
}

}  // namespace d2_ops
