// What deform_conv2d and its derivatives ask of their arguments.
#pragma once

#include <optional>

#include "d2_ops/deform_tap.h"
#include "tensor_arguments.h"

namespace d2_ops {

struct DeformSettings {
  int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
};

inline int64_t convolved_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

inline DeformGeometry check_deform_arguments(const Tensor& input, const Tensor& offset,
                                             const std::optional<Tensor>& mask, const Tensor& weight,
                                             const DeformSettings& s, const char* op) {
  const auto check = [&](const Tensor& tensor, const char* name) {
    require(tensor.dim() == 4, op, ": ", name, " must have 4 dimensions, got ", tensor.dim());
    require_floating(tensor, op, name);
    require(tensor.get_device_index() == input.get_device_index(), op, ": ", name, " must be on the device of input");
  };
  check(input, "input");
  check(offset, "offset");
  check(weight, "weight");
  if (mask) check(*mask, "mask");
  require(s.stride_y > 0 && s.stride_x > 0, op, ": stride must be positive");
  require(s.dilation_y > 0 && s.dilation_x > 0, op, ": dilation must be positive");
  require(s.padding_y >= 0 && s.padding_x >= 0, op, ": padding must not be negative");

  DeformGeometry g{};
  g.channels = input.size(1), g.height = input.size(2), g.width = input.size(3);
  g.kernel_height = weight.size(2), g.kernel_width = weight.size(3);
  g.stride_y = s.stride_y, g.stride_x = s.stride_x;
  g.padding_y = s.padding_y, g.padding_x = s.padding_x;
  g.dilation_y = s.dilation_y, g.dilation_x = s.dilation_x;
  constexpr int64_t kLargest = int64_t(1) << 31;  // pixels are numbered in 32 bits
  require(g.height == 0 || g.width < kLargest / g.height, op, ": a plane has 2^31 pixels or more");
  require(g.kernel_taps() > 0, op, ": the kernel is empty");
  g.out_height = convolved_size(g.height, g.kernel_height, s.stride_y, s.padding_y, s.dilation_y);
  g.out_width = convolved_size(g.width, g.kernel_width, s.stride_x, s.padding_x, s.dilation_x);
  require(g.out_pixels() > 0, op, ": the padded input is smaller than the kernel");

  const int64_t per_group = weight.size(1);
  require(per_group > 0 && g.channels > 0 && g.channels % per_group == 0, op, ": ", g.channels,
          " channels cannot be divided into groups of weight.size(1) = ", per_group);
  g.groups = g.channels / per_group;
  require(weight.size(0) % g.groups == 0, op, ": ", weight.size(0), " filters cannot be divided into ", g.groups,
          " groups");
  const int64_t per_deformable_group = 2 * g.kernel_taps();
  g.deformable_groups = offset.size(1) / per_deformable_group;
  require(g.deformable_groups > 0 && offset.size(1) % per_deformable_group == 0 &&
              g.channels % g.deformable_groups == 0,
          op, ": offset has ", offset.size(1), " channels, not 2 x ", g.kernel_taps(),
          " per deformable group for a divisor of ", g.channels, " channels");
  const auto check_planes = [&](const Tensor& tensor, const char* name) {
    require(tensor.size(0) == input.size(0) && tensor.size(2) == g.out_height && tensor.size(3) == g.out_width, op,
            ": ", name, " must have ", input.size(0), " images of the output's ", g.out_height, " x ", g.out_width,
            " pixels, got ", tensor.size(0), " of ", tensor.size(2), " x ", tensor.size(3));
  };
  check_planes(offset, "offset");
  if (mask) {
    check_planes(*mask, "mask");
    require(2 * mask->size(1) == offset.size(1), op, ": mask must have half of offset's ", offset.size(1),
            " channels, got ", mask->size(1));
  }
  return g;
}

}  // namespace d2_ops
