#include "d2_ops/sigmoid_focal_loss.h"

#include <type_traits>

#include "../sigmoid_focal_loss_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

// Calls f(logits, targets, weights, power) in the arithmetic of the inputs.
template <class F>
void with_focal_arguments(const Tensor& inputs, const Tensor& targets, double alpha, double gamma, const F& f) {
  const ScalarType type = compute_type(inputs.scalar_type());
  const Tensor logits = contiguous_as(inputs, type), goals = contiguous_as(targets, type);
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    dispatch_power(gamma,
                   [&](const auto& power) { f(data<T>(logits), data<T>(goals), focal_weights<T>(alpha), power); });
  });
}

Tensor sigmoid_focal_loss_cpu(const Tensor& inputs, const Tensor& targets, double alpha, double gamma) {
  check_focal_arguments(inputs, targets, alpha, gamma, "sigmoid_focal_loss");
  const Tensor out = torch::stable::new_empty(inputs, inputs.sizes(), compute_type(inputs.scalar_type()));
  with_focal_arguments(inputs, targets, alpha, gamma, [&](auto logits, auto goals, auto weights, const auto& power) {
    using T = std::decay_t<decltype(*logits)>;
    sigmoid_focal_loss(logits, goals, inputs.numel(), weights, power, mutable_data<T>(out), TorchFor{});
  });
  return out;
}

Tensor sigmoid_focal_loss_sum_cpu(const Tensor& inputs, const Tensor& targets, double alpha, double gamma) {
  check_focal_arguments(inputs, targets, alpha, gamma, "sigmoid_focal_loss_sum");
  const Tensor out = torch::stable::new_empty(inputs, {}, compute_type(inputs.scalar_type()));
  with_focal_arguments(inputs, targets, alpha, gamma, [&](auto logits, auto goals, auto weights, const auto& power) {
    using T = std::decay_t<decltype(*logits)>;
    *mutable_data<T>(out) = sigmoid_focal_loss_sum(logits, goals, inputs.numel(), weights, power, TorchFor{});
  });
  return out;
}

Tensor sigmoid_focal_loss_backward_cpu(const Tensor& grad, const Tensor& inputs, const Tensor& targets, double alpha,
                                       double gamma) {
  constexpr const char* op = "sigmoid_focal_loss_backward";
  check_focal_arguments(inputs, targets, alpha, gamma, op);
  const int64_t stride = focal_gradient_stride(grad, inputs, op);
  const ScalarType type = compute_type(inputs.scalar_type());
  const Tensor grads = contiguous_as(grad, type);
  const Tensor out = torch::stable::new_empty(inputs, inputs.sizes(), type);
  with_focal_arguments(inputs, targets, alpha, gamma, [&](auto logits, auto goals, auto weights, const auto& power) {
    using T = std::decay_t<decltype(*logits)>;
    sigmoid_focal_loss_backward(logits, goals, data<T>(grads), stride, inputs.numel(), weights, power,
                                mutable_data<T>(out), TorchFor{});
  });
  return contiguous_as(out, inputs.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("sigmoid_focal_loss", D2_OPS_BOX(&d2_ops::sigmoid_focal_loss_cpu));
  m.impl("sigmoid_focal_loss_sum", D2_OPS_BOX(&d2_ops::sigmoid_focal_loss_sum_cpu));
  m.impl("sigmoid_focal_loss_backward", D2_OPS_BOX(&d2_ops::sigmoid_focal_loss_backward_cpu));
}
