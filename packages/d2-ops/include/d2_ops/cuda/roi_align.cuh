// RoIAlign on the device: one thread per output value.
#pragma once

#include <cstdint>

#include "../roi_geometry.h"
#include "grid.cuh"

namespace d2_ops {

struct FeatureShape {
  int64_t images, channels, height, width;
};

// The bin that a thread computes, and how it is sampled.
template <class T>
struct RoiBin {
  int64_t roi, channel, p, q, image;
  RoiAxis<T> x, y;
  bool usable;  // false where the RoI is not finite or names no image: checking that first would stall the host

  __device__ RoiBin(int64_t item, const T* rois, const FeatureShape& shape, const RoiAlignOptions& o) {
    q = item % o.pooled_width;
    p = item / o.pooled_width % o.pooled_height;
    channel = item / (o.pooled_width * o.pooled_height) % shape.channels;
    roi = item / (o.pooled_width * o.pooled_height) / shape.channels;
    const T* row = rois + 5 * roi;
    const T scale = static_cast<T>(o.spatial_scale);
    x = roi_axis(row[1], row[3], scale, o.pooled_width, o.sampling_ratio, o.aligned);
    y = roi_axis(row[2], row[4], scale, o.pooled_height, o.sampling_ratio, o.aligned);
    usable = x.usable && y.usable && row[0] >= T(0) && row[0] < static_cast<T>(shape.images);
    image = usable ? static_cast<int64_t>(row[0]) : 0;
  }

  __device__ T samples() const {
    const int64_t count = x.grid * y.grid;
    return static_cast<T>(count > 1 ? count : 1);
  }
};

// Calls visit(offset in the plane, weight) for the four pixels of every sample of a bin.
template <class T, class Visit>
__device__ __forceinline__ void for_each_pixel(const RoiBin<T>& bin, const FeatureShape& shape, const Visit& visit) {
  int64_t y_first, y_last, x_first, x_last;
  samples_near_map(bin.y, bin.p, shape.height, &y_first, &y_last);
  samples_near_map(bin.x, bin.q, shape.width, &x_first, &x_last);
  for (int64_t i = y_first; i < y_last; ++i) {
    LinearSample<T> y;
    if (!linear_sample(bin.y.sample(bin.p, i), shape.height, &y)) continue;
    for (int64_t j = x_first; j < x_last; ++j) {
      LinearSample<T> x;
      if (!linear_sample(bin.x.sample(bin.q, j), shape.width, &x)) continue;
      visit(y.low * shape.width + x.low, y.low_weight * x.low_weight);
      visit(y.low * shape.width + x.high, y.low_weight * x.high_weight);
      visit(y.high * shape.width + x.low, y.high_weight * x.low_weight);
      visit(y.high * shape.width + x.high, y.high_weight * x.high_weight);
    }
  }
}

// Bin: RoiBin or another with its interface; S: type of the features; T: type of the arithmetic and of the boxes.
template <class Bin, class S, class T>
__global__ void roi_align_forward(const S* input, const T* rois, int64_t items, FeatureShape shape,
                                  RoiAlignOptions options, S* out) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const Bin bin(item, rois, shape, options);
    T sum = bin.usable ? T(0) : static_cast<T>(nan(""));
    if (bin.usable) {
      const S* plane = input + (bin.image * shape.channels + bin.channel) * shape.height * shape.width;
      for_each_pixel(bin, shape,
                     [&](int64_t offset, T weight) { sum += weight * static_cast<T>(plane[offset]); });
    }
    out[item] = static_cast<S>(sum / bin.samples());
  }
}

// Adds to grad_input, zeros at first. The order of additions, hence the last bits, vary from run to run.
template <class Bin, class S, class T>
__global__ void roi_align_backward(const S* grad_out, const T* rois, int64_t items, FeatureShape shape,
                                   RoiAlignOptions options, T* grad_input) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const Bin bin(item, rois, shape, options);
    if (!bin.usable) continue;
    const T grad = static_cast<T>(grad_out[item]) / bin.samples();
    T* plane = grad_input + (bin.image * shape.channels + bin.channel) * shape.height * shape.width;
    for_each_pixel(bin, shape, [&](int64_t offset, T weight) { atomicAdd(plane + offset, weight * grad); });
  }
}

}  // namespace d2_ops
