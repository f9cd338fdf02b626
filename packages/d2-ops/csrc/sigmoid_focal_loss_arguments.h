// What sigmoid_focal_loss, its sum and their backward ask of their arguments, on every device.
#pragma once

#include <cmath>

#include "d2_ops/focal_loss.h"
#include "tensor_arguments.h"

namespace d2_ops {

inline void check_focal_arguments(const Tensor& inputs, const Tensor& targets, double alpha, double gamma,
                                  const char* op) {
  require_floating(inputs, op, "inputs");
  require_floating(targets, op, "targets");
  bool same = inputs.dim() == targets.dim();
  for (int64_t d = 0; same && d < inputs.dim(); ++d) same = inputs.size(d) == targets.size(d);
  require(same, op, ": targets must have the shape of inputs");
  require(targets.get_device_index() == inputs.get_device_index(), op, ": targets must be on the device of inputs");
  require(alpha <= 1, op, ": alpha must be at most 1, got ", alpha);
  require(gamma >= 0 && std::isfinite(gamma), op, ": gamma must not be negative, got ", gamma);
}

// Either one number, the gradient of the sum, or one for each input. Tells the step from one to the next.
inline int64_t focal_gradient_stride(const Tensor& grad, const Tensor& inputs, const char* op) {
  require_floating(grad, op, "grad");
  require(grad.get_device_index() == inputs.get_device_index(), op, ": grad must be on the device of inputs");
  require(grad.dim() == 0 || grad.numel() == inputs.numel(), op, ": grad must have one element, or as many as inputs");
  return grad.dim() == 0 ? 0 : 1;
}

// Calls f with the way to raise to gamma.
template <class F>
void dispatch_power(double gamma, const F& f) {
  if (gamma == 2)
    f(Squared{});
  else if (gamma == 0)
    f(Unpowered{});
  else
    f(Powered{gamma});
}

}  // namespace d2_ops
