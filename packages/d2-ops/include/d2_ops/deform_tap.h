// Where the taps of a deformed kernel sample their image.
#pragma once

#include <cmath>
#include <cstdint>

#include "platform.h"

namespace d2_ops {

// Sizes of a deformable convolution of one image.
struct DeformGeometry {
  int64_t channels, height, width;  // of the image
  int64_t kernel_height, kernel_width;
  int64_t out_height, out_width;
  int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
  int64_t groups, deformable_groups;

  D2_OPS_HOST_DEVICE int64_t kernel_taps() const { return kernel_height * kernel_width; }
  D2_OPS_HOST_DEVICE int64_t out_pixels() const { return out_height * out_width; }
  D2_OPS_HOST_DEVICE int64_t group_channels() const { return channels / groups; }
  D2_OPS_HOST_DEVICE int64_t deformable_channels() const { return channels / deformable_groups; }
};

// The four pixels around a sampled position: (top, bottom) x (left, right). Zeros surround the image.
template <class T>
struct DeformTap {
  int32_t pixels[4];  // row-major numbers; -1 outside the image
  T y, x;             // how far the position is past the top and the left pixel
  T modulation;
  bool inside;  // false where the sample is zero whatever the image holds

  D2_OPS_HOST_DEVICE T bilinear(int corner) const { return (corner & 2 ? y : 1 - y) * (corner & 1 ? x : 1 - x); }
  D2_OPS_HOST_DEVICE T weight(int corner) const { return inside ? modulation * bilinear(corner) : T(0); }
};

// offset: (deformable groups, taps, 2, out pixels), y before x; mask: (deformable groups, taps, out pixels)
// or null. An offset that is NaN makes a sample NaN.
template <class T>
D2_OPS_HOST_DEVICE DeformTap<T> deform_tap(const DeformGeometry& g, const T* offset, const T* mask, int64_t pixel,
                                           int64_t k, int64_t deformable_group) {
  const int64_t plane = deformable_group * g.kernel_taps() + k;
  const int64_t y0 = pixel / g.out_width * g.stride_y - g.padding_y + k / g.kernel_width * g.dilation_y;
  const int64_t x0 = pixel % g.out_width * g.stride_x - g.padding_x + k % g.kernel_width * g.dilation_x;
  const T y = static_cast<T>(y0) + offset[2 * plane * g.out_pixels() + pixel];
  const T x = static_cast<T>(x0) + offset[(2 * plane + 1) * g.out_pixels() + pixel];
  const T height = static_cast<T>(g.height), width = static_cast<T>(g.width);

  DeformTap<T> tap;
  tap.modulation = mask ? mask[plane * g.out_pixels() + pixel] : T(1);
  tap.inside = !(y <= -1 || y >= height || x <= -1 || x >= width);
  // At -1 the sample is zero, but moving it inwards changes that: its gradient reads pixels.
  if (y >= -1 && y < height && x >= -1 && x < width) {
    const T top = std::floor(y), left = std::floor(x);
    tap.y = y - top;
    tap.x = x - left;
    for (int corner = 0; corner < 4; ++corner) {
      const int64_t row = static_cast<int64_t>(top) + (corner >> 1), column = static_cast<int64_t>(left) + (corner & 1);
      const bool exists = row >= 0 && row < g.height && column >= 0 && column < g.width;
      tap.pixels[corner] = exists ? static_cast<int32_t>(row * g.width + column) : -1;
    }
  } else {
    tap.y = tap.x = tap.inside ? y + x : T(0);  // inside means NaN here
    for (int32_t& corner : tap.pixels) corner = -1;
  }
  return tap;
}

// Gradients of one tap's position and modulation, out of the sums over channels of what each corner
// holds times the sample's gradient.
template <class T>
struct DeformTapGradient {
  T y, x, modulation;

  D2_OPS_HOST_DEVICE DeformTapGradient(const DeformTap<T>& tap, const T* sums)
      : y(tap.modulation * ((1 - tap.x) * (sums[2] - sums[0]) + tap.x * (sums[3] - sums[1]))),
        x(tap.modulation * ((1 - tap.y) * (sums[1] - sums[0]) + tap.y * (sums[3] - sums[2]))),
        modulation(0) {
    for (int corner = 0; corner < 4; ++corner) modulation += tap.bilinear(corner) * sums[corner];
  }
};

}  // namespace d2_ops
