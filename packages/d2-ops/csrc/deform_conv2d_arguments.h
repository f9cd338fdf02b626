// What deform_conv2d and its derivatives ask of their arguments.
#pragma once

#include <optional>

#include "deform_geometry.h"
#include "tensor_arguments.h"

namespace d2_ops {

inline DeformGeometry check_deform_arguments(const Tensor& input, const Tensor& offset,
                                             const std::optional<Tensor>& mask, const Tensor& weight,
                                             const DeformSettings& settings, const char* op) {
  const auto checked = [&](const Tensor& tensor, const char* name) {
    require(tensor.dim() == 4, op, ": ", name, " must have 4 dimensions, got ", tensor.dim());
    require_floating(tensor, op, name);
    require(tensor.get_device_index() == input.get_device_index(), op, ": ", name, " must be on the device of input");
    return FourSizes{tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)};
  };
  const FourSizes of_input = checked(input, "input"), of_offset = checked(offset, "offset");
  const FourSizes of_weight = checked(weight, "weight");
  std::optional<FourSizes> of_mask;
  if (mask) of_mask = checked(*mask, "mask");
  return deform_geometry(of_input, of_offset, of_mask, of_weight, settings, op);
}

}  // namespace d2_ops
