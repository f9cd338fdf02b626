// What deformable convolution asks of sizes, and the geometry they make.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "d2_ops/deform_tap.h"
#include "require.h"

namespace d2_ops {

struct DeformSettings {
  int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
};

inline int64_t convolved_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

using FourSizes = std::array<int64_t, 4>;  // images, channels, height, width; of weights filters come first

inline DeformGeometry deform_geometry(const FourSizes& input, const FourSizes& offset,
                                      const std::optional<FourSizes>& mask, const FourSizes& weight,
                                      const DeformSettings& s, const char* op) {
  require(s.stride_y > 0 && s.stride_x > 0, op, ": stride must be positive");
  require(s.dilation_y > 0 && s.dilation_x > 0, op, ": dilation must be positive");
  require(s.padding_y >= 0 && s.padding_x >= 0, op, ": padding must not be negative");

  DeformGeometry g{};
  g.channels = input[1], g.height = input[2], g.width = input[3];
  g.kernel_height = weight[2], g.kernel_width = weight[3];
  g.stride_y = s.stride_y, g.stride_x = s.stride_x;
  g.padding_y = s.padding_y, g.padding_x = s.padding_x;
  g.dilation_y = s.dilation_y, g.dilation_x = s.dilation_x;
  constexpr int64_t kLargest = int64_t(1) << 31;  // pixels are numbered in 32 bits
  require(g.height == 0 || g.width < kLargest / g.height, op, ": a plane has 2^31 pixels or more");
  require(g.kernel_taps() > 0, op, ": the kernel is empty");
  g.out_height = convolved_size(g.height, g.kernel_height, s.stride_y, s.padding_y, s.dilation_y);
  g.out_width = convolved_size(g.width, g.kernel_width, s.stride_x, s.padding_x, s.dilation_x);
  require(g.out_pixels() > 0, op, ": the padded input is smaller than the kernel");

  const int64_t per_group = weight[1];
  require(per_group > 0 && g.channels > 0 && g.channels % per_group == 0, op, ": ", g.channels,
          " channels cannot be divided into groups of weight.size(1) = ", per_group);
  g.groups = g.channels / per_group;
  require(weight[0] % g.groups == 0, op, ": ", weight[0], " filters cannot be divided into ", g.groups,
          " groups");
  const int64_t per_deformable_group = 2 * g.kernel_taps();
  g.deformable_groups = offset[1] / per_deformable_group;
  require(g.deformable_groups > 0 && offset[1] % per_deformable_group == 0 &&
              g.channels % g.deformable_groups == 0,
          op, ": offset has ", offset[1], " channels, not 2 x ", g.kernel_taps(),
          " per deformable group for a divisor of ", g.channels, " channels");
  const auto check_planes = [&](const FourSizes& sizes, const char* name) {
    require(sizes[0] == input[0] && sizes[2] == g.out_height && sizes[3] == g.out_width, op,
            ": ", name, " must have ", input[0], " images of the output's ", g.out_height, " x ", g.out_width,
            " pixels, got ", sizes[0], " of ", sizes[2], " x ", sizes[3]);
  };
  check_planes(offset, "offset");
  if (mask) {
    check_planes(*mask, "mask");
    require(2 * (*mask)[1] == offset[1], op, ": mask must have half of offset's ", offset[1],
            " channels, got ", (*mask)[1]);
  }
  return g;
}

}  // namespace d2_ops
