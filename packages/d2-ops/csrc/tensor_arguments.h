// Checks and conversions that the bindings of every operator need.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>

// The namespace is a macro; these two levels let it expand before torch's macros paste it.
#define D2_OPS_LIBRARY(m) D2_OPS_LIBRARY_EXPANDED(D2_OPS_NAMESPACE, m)
#define D2_OPS_LIBRARY_EXPANDED(ns, m) STABLE_TORCH_LIBRARY(ns, m)
#define D2_OPS_LIBRARY_IMPL(device, m) D2_OPS_LIBRARY_IMPL_EXPANDED(D2_OPS_NAMESPACE, device, m)
#define D2_OPS_LIBRARY_IMPL_EXPANDED(ns, device, m) STABLE_TORCH_LIBRARY_IMPL(ns, device, m)

namespace d2_ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Arrives in Python as ValueError.
template <class... Args>
void require(bool condition, const Args&... message) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << message);
  throw std::invalid_argument(text.str());
}

inline bool is_floating(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
         type == ScalarType::BFloat16;
}

inline void require_floating(const Tensor& tensor, const char* op, const char* name) {
  require(is_floating(tensor.scalar_type()), op, ": ", name, " must be float16, bfloat16, float32 or float64, got ",
          torch::headeronly::toString(tensor.scalar_type()));
}

inline void require_matrix(const Tensor& tensor, int64_t columns, const char* op, const char* name) {
  require(tensor.dim() == 2 && tensor.size(1) == columns, op, ": ", name, " must have shape (N, ", columns, ")");
}

// Arithmetic type of the kernels: float64 stays, everything smaller computes in float32.
inline ScalarType compute_type(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Contiguous and of this type; the tensor itself when it already is.
inline Tensor contiguous_as(const Tensor& tensor, ScalarType type) {
  const Tensor converted = tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
  return converted.is_contiguous() ? converted : torch::stable::contiguous(converted);
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Calls f with a value of the arithmetic type: dispatch_compute(t, [&](auto zero) { using T = ... }).
template <class F>
void dispatch_compute(ScalarType type, const F& f) {
  if (compute_type(type) == ScalarType::Double)
    f(double{});
  else
    f(float{});
}

}  // namespace d2_ops
