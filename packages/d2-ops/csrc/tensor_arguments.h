// Checks and conversions that the bindings of every operator need.
#pragma once

#include "boxed_kernel.h"
#include "require.h"

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <vector>

// The namespace is a macro; these two levels let it expand before torch's macros paste it.
#define D2_OPS_LIBRARY(m) D2_OPS_LIBRARY_EXPANDED(D2_OPS_NAMESPACE, m)
#define D2_OPS_LIBRARY_EXPANDED(ns, m) STABLE_TORCH_LIBRARY(ns, m)
#define D2_OPS_LIBRARY_IMPL(device, m) D2_OPS_LIBRARY_IMPL_EXPANDED(D2_OPS_NAMESPACE, device, m)
#define D2_OPS_LIBRARY_IMPL_EXPANDED(ns, device, m) STABLE_TORCH_LIBRARY_IMPL(ns, device, m)

namespace d2_ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

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

// What make() returns; an error of it names a tensor of this shape. The stable ABI does not hand on
// what torch says, which nearly always is that there is no memory.
template <class Sizes, class F>
Tensor allocated(const Sizes& sizes, ScalarType type, const char* what, const F& make) {
  try {
    return make();
  } catch (const std::exception&) {
    std::ostringstream text;
    text << what << " cannot be made, most likely as there is no memory for it: shape (";
    for (size_t i = 0; i < sizes.size(); ++i) text << (i ? ", " : "") << sizes[i];
    text << "), type " << torch::headeronly::toString(type);
    throw std::runtime_error(text.str());
  }
}

// An uninitialised tensor of a size that the caller of an operator chose.
inline Tensor empty_result(const Tensor& like, const std::vector<int64_t>& sizes, ScalarType type) {
  return allocated(sizes, type, "a result", [&] { return torch::stable::new_empty(like, sizes, type); });
}

// Contiguous and of this type; the tensor itself when it already is.
inline Tensor contiguous_as(const Tensor& tensor, ScalarType type) {
  if (tensor.scalar_type() == type && tensor.is_contiguous()) return tensor;
  return allocated(tensor.sizes(), type, "a copy of an argument", [&] {
    const Tensor converted = tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
    return converted.is_contiguous() ? converted : torch::stable::contiguous(converted);
  });
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
