// Sampling an image into columns on the device, and the derivative of that: one warp per sampled
// position, its lanes on neighbouring channels. Shapes are those of ../deform_columns.h.
#pragma once

#include <cstdint>

#include "../deform_tap.h"
#include "grid.cuh"

namespace d2_ops {

constexpr int kWarp = 32;

// What a warp samples: pixel of the block, kernel tap, deformable group.
struct WarpTap {
  int64_t pixel, k, deformable_group;

  __device__ WarpTap(const DeformGeometry& g, int64_t item)
      : pixel(item / g.deformable_groups / g.kernel_taps()),
        k(item / g.deformable_groups % g.kernel_taps()),
        deformable_group(item % g.deformable_groups) {}

  __device__ int64_t column(const DeformGeometry& g, int64_t pixels, int64_t channel) const {
    const int64_t per_group = g.group_channels(), group = g.groups == 1 ? 0 : channel / per_group;
    return ((group * pixels + pixel) * g.kernel_taps() + k) * per_group + channel - group * per_group;
  }
};

// Calls visit(channel) for the lane's share of a deformable group's channels.
template <class Visit>
__device__ __forceinline__ void for_lane_channels(const DeformGeometry& g, int64_t deformable_group,
                                                  const Visit& visit) {
  const int64_t first = deformable_group * g.deformable_channels(), end = first + g.deformable_channels();
  for (int64_t channel = first + threadIdx.x % kWarp; channel < end; channel += kWarp) visit(channel);
}

template <class S, class T>
__device__ __forceinline__ T corner_value(const DeformGeometry& g, const S* image, const DeformTap<T>& tap, int corner,
                                          int64_t channel) {
  return tap.pixels[corner] < 0 ? T(0) : static_cast<T>(image[tap.pixels[corner] * g.channels + channel]);
}

// S: type of images and columns; T: type of the arithmetic and of offsets.
template <class S, class T>
__global__ void deform_columns_kernel(DeformGeometry g, const S* image, const T* offset, const T* mask, int64_t first,
                                      int64_t pixels, S* columns) {
  const int64_t items = pixels * g.kernel_taps() * g.deformable_groups;
  for (int64_t item = first_item() / kWarp; item < items; item += item_stride() / kWarp) {
    const WarpTap at(g, item);
    const DeformTap<T> tap = deform_tap(g, offset, mask, first + at.pixel, at.k, at.deformable_group);
    for_lane_channels(g, at.deformable_group, [&](int64_t channel) {
      T sum = 0;
      if (tap.inside)
        for (int corner = 0; corner < 4; ++corner)
          sum += tap.weight(corner) * corner_value(g, image, tap, corner, channel);
      columns[at.column(g, pixels, channel)] = static_cast<S>(sum);
    });
  }
}

// Adds to grad_image; the order of additions, hence the last bits, vary from run to run.
template <class S, class T>
__global__ void deform_columns_backward_kernel(DeformGeometry g, const S* image, const T* offset, const T* mask,
                                               const S* grad_columns, int64_t first, int64_t pixels, T* grad_image,
                                               T* grad_offset, T* grad_mask) {
  const int64_t items = pixels * g.kernel_taps() * g.deformable_groups;
  for (int64_t item = first_item() / kWarp; item < items; item += item_stride() / kWarp) {
    const WarpTap at(g, item);
    const DeformTap<T> tap = deform_tap(g, offset, mask, first + at.pixel, at.k, at.deformable_group);
    T sums[4] = {};
    for_lane_channels(g, at.deformable_group, [&](int64_t channel) {
      const T grad = static_cast<T>(grad_columns[at.column(g, pixels, channel)]);
      for (int corner = 0; corner < 4; ++corner) {
        sums[corner] += grad * corner_value(g, image, tap, corner, channel);
        const T weight = tap.weight(corner);
        if (tap.pixels[corner] >= 0 && weight != 0)
          atomicAdd(grad_image + tap.pixels[corner] * g.channels + channel, weight * grad);
      }
    });
    for (T& sum : sums)
      for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_down_sync(0xffffffffu, sum, lanes);
    if (threadIdx.x % kWarp != 0) continue;
    const DeformTapGradient<T> gradient(tap, sums);
    const int64_t plane = at.deformable_group * g.kernel_taps() + at.k, pixel = first + at.pixel;
    grad_offset[2 * plane * g.out_pixels() + pixel] = gradient.y;
    grad_offset[(2 * plane + 1) * g.out_pixels() + pixel] = gradient.x;
    if (grad_mask) grad_mask[plane * g.out_pixels() + pixel] = gradient.modulation;
  }
}

}  // namespace d2_ops
