// RoIAlign on the device: one thread per output value.
#pragma once

#include <cstdint>

#include "../feature_levels.h"
#include "../roi_geometry.h"
#include "grid.cuh"

namespace d2_ops {

// Which value of (rois, channels, pooled_height, pooled_width) a thread computes.
struct PooledIndex {
  int64_t roi, channel, p, q;

  __device__ PooledIndex(int64_t item, int64_t channels, int64_t pooled_height, int64_t pooled_width)
      : roi(item / (pooled_width * pooled_height) / channels),
        channel(item / (pooled_width * pooled_height) % channels),
        p(item / pooled_width % pooled_height),
        q(item % pooled_width) {}
};

// The planes that a RoI is pooled from. Checking that first would stall the host: a RoI that names no
// level or no image is not `valid`, and has no index to be used but 0.
struct RoiPlace {
  int64_t level, image;
  bool valid;

  template <class F, class T>
  __device__ RoiPlace(const FeatureLevels<F>& levels, int64_t roi, T named_image) : level(levels.level_of(roi)) {
    valid = level >= 0 && level < levels.count && named_image >= T(0) && named_image < static_cast<T>(levels.images);
    level = valid ? level : 0;
    image = valid ? static_cast<int64_t>(named_image) : 0;
  }
};

// The samples of a bin of an upright region.
template <class T>
struct UprightBin {
  static constexpr int kRow = kRoiRow;
  RoiAxis<T> x, y;
  bool usable;  // false where the RoI is not finite

  __device__ UprightBin(const T* row, const LevelShape& level, const RoiAlignOptions& o) {
    const T scale = static_cast<T>(level.spatial_scale);
    x = roi_axis(row[1], row[3], scale, o.pooled_width, o.sampling_ratio, o.aligned);
    y = roi_axis(row[2], row[4], scale, o.pooled_height, o.sampling_ratio, o.aligned);
    usable = x.usable && y.usable;
  }

  __device__ T samples() const {
    const int64_t count = x.grid * y.grid;
    return static_cast<T>(count > 1 ? count : 1);
  }

  // Calls visit(offset in the plane, weight) for the four pixels of every sample of bin (p, q).
  template <class Visit>
  __device__ __forceinline__ void for_each_pixel(int64_t p, int64_t q, const LevelShape& level,
                                                 const Visit& visit) const {
    int64_t y_first, y_last, x_first, x_last;
    samples_near_map(y, p, level.height, &y_first, &y_last);
    samples_near_map(x, q, level.width, &x_first, &x_last);
    for (int64_t i = y_first; i < y_last; ++i) {
      LinearSample<T> row;
      if (!linear_sample(y.sample(p, i), level.height, &row)) continue;
      for (int64_t j = x_first; j < x_last; ++j) {
        LinearSample<T> column;
        if (!linear_sample(x.sample(q, j), level.width, &column)) continue;
        visit(row.low * level.width + column.low, row.low_weight * column.low_weight);
        visit(row.low * level.width + column.high, row.low_weight * column.high_weight);
        visit(row.high * level.width + column.low, row.high_weight * column.low_weight);
        visit(row.high * level.width + column.high, row.high_weight * column.high_weight);
      }
    }
  }
};

// Bin: UprightBin or another with its interface; S: type of the features; T: type of the arithmetic and of the boxes.
template <class Bin, class S, class T>
__global__ void roi_align_forward(FeatureLevels<const S> levels, const T* rois, int64_t items, RoiAlignOptions options,
                                  S* out) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const PooledIndex at(item, levels.channels, options.pooled_height, options.pooled_width);
    const T* row = rois + Bin::kRow * at.roi;
    const RoiPlace place(levels, at.roi, row[0]);
    const LevelShape& shape = levels.level[place.level];
    const Bin bin(row, shape, options);
    const bool usable = place.valid && bin.usable;
    T sum = usable ? T(0) : static_cast<T>(nan(""));
    if (usable) {
      const S* plane = levels.plane(place.level, place.image, at.channel);
      bin.for_each_pixel(at.p, at.q, shape,
                         [&](int64_t offset, T weight) { sum += weight * static_cast<T>(plane[offset]); });
    }
    out[item] = static_cast<S>(sum / bin.samples());
  }
}

// Adds to the levels, zeros at first. The order of additions, hence the last bits, vary from run to run.
template <class Bin, class S, class T>
__global__ void roi_align_backward(const S* grad_out, const T* rois, int64_t items, RoiAlignOptions options,
                                   FeatureLevels<T> grad_levels) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const PooledIndex at(item, grad_levels.channels, options.pooled_height, options.pooled_width);
    const T* row = rois + Bin::kRow * at.roi;
    const RoiPlace place(grad_levels, at.roi, row[0]);
    const LevelShape& shape = grad_levels.level[place.level];
    const Bin bin(row, shape, options);
    if (!place.valid || !bin.usable) continue;
    const T grad = static_cast<T>(grad_out[item]) / bin.samples();
    T* plane = grad_levels.plane(place.level, place.image, at.channel);
    bin.for_each_pixel(at.p, at.q, shape, [&](int64_t offset, T weight) { atomicAdd(plane + offset, weight * grad); });
  }
}

}  // namespace d2_ops
