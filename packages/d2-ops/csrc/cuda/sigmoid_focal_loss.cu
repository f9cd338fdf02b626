#include "d2_ops/cuda/sigmoid_focal_loss.cuh"

#include <optional>

#include "../sigmoid_focal_loss_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

constexpr unsigned kMostSums = 1024;

// Calls f(storage zero, arithmetic zero, weights, power) in the arithmetic of the inputs.
template <class F>
void with_focal_settings(const Tensor& inputs, double alpha, double gamma, const F& f) {
  dispatch_floating(inputs.scalar_type(), [&](auto storage_zero, auto zero) {
    using T = decltype(zero);
    dispatch_power(gamma, [&](const auto& power) { f(storage_zero, zero, focal_weights<T>(alpha), power); });
  });
}

Tensor sigmoid_focal_loss_cuda(const Tensor& inputs, const Tensor& targets, double alpha, double gamma) {
  check_focal_arguments(inputs, targets, alpha, gamma, "sigmoid_focal_loss");
  const torch::stable::accelerator::DeviceGuard guard(inputs.get_device_index());
  const ScalarType type = inputs.scalar_type();
  const Tensor logits = contiguous_as(inputs, type), goals = contiguous_as(targets, type);
  const Tensor out = torch::stable::new_empty(inputs, inputs.sizes(), compute_type(type));
  const int64_t count = logits.numel();
  if (count == 0) return out;
  with_focal_settings(inputs, alpha, gamma, [&](auto storage_zero, auto zero, auto weights, const auto& power) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    sigmoid_focal_loss<<<blocks_for(count), kThreads, 0, current_stream(inputs)>>>(
        data<S>(logits), data<S>(goals), count, weights, power, mutable_data<T>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

Tensor sigmoid_focal_loss_sum_cuda(const Tensor& inputs, const Tensor& targets, double alpha, double gamma) {
  check_focal_arguments(inputs, targets, alpha, gamma, "sigmoid_focal_loss_sum");
  const torch::stable::accelerator::DeviceGuard guard(inputs.get_device_index());
  const ScalarType type = inputs.scalar_type();
  const Tensor logits = contiguous_as(inputs, type), goals = contiguous_as(targets, type);
  const int64_t count = logits.numel();
  if (count == 0) return torch::stable::new_zeros(inputs, {}, compute_type(type));
  const unsigned blocks = blocks_for(count) < kMostSums ? blocks_for(count) : kMostSums;
  const Tensor sums = torch::stable::new_empty(inputs, {int64_t(blocks)}, compute_type(type));
  with_focal_settings(inputs, alpha, gamma, [&](auto storage_zero, auto zero, auto weights, const auto& power) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    sigmoid_focal_loss_sums<<<blocks, kThreads, 0, current_stream(inputs)>>>(
        data<S>(logits), data<S>(goals), count, weights, power, mutable_data<T>(sums));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return torch::stable::sum(sums);
}

Tensor sigmoid_focal_loss_backward_cuda(const Tensor& grad, const Tensor& inputs, const Tensor& targets, double alpha,
                                        double gamma) {
  constexpr const char* op = "sigmoid_focal_loss_backward";
  check_focal_arguments(inputs, targets, alpha, gamma, op);
  const int64_t stride = focal_gradient_stride(grad, inputs, op);
  const torch::stable::accelerator::DeviceGuard guard(inputs.get_device_index());
  const ScalarType type = inputs.scalar_type();
  const Tensor logits = contiguous_as(inputs, type), goals = contiguous_as(targets, type);
  const Tensor grads = contiguous_as(grad, compute_type(type));
  const Tensor out = torch::stable::new_empty(inputs, inputs.sizes());
  const int64_t count = logits.numel();
  if (count == 0) return out;
  with_focal_settings(inputs, alpha, gamma, [&](auto storage_zero, auto zero, auto weights, const auto& power) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    sigmoid_focal_loss_backward<<<blocks_for(count), kThreads, 0, current_stream(inputs)>>>(
        data<S>(logits), data<S>(goals), data<T>(grads), stride, count, weights, power, mutable_data<S>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("sigmoid_focal_loss", D2_OPS_BOX(&d2_ops::sigmoid_focal_loss_cuda));
  m.impl("sigmoid_focal_loss_sum", D2_OPS_BOX(&d2_ops::sigmoid_focal_loss_sum_cuda));
  m.impl("sigmoid_focal_loss_backward", D2_OPS_BOX(&d2_ops::sigmoid_focal_loss_backward_cuda));
}
