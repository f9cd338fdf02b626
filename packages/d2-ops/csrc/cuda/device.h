// What the bindings of the CUDA kernels share.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "../tensor_arguments.h"

namespace d2_ops {

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Calls f(storage zero, arithmetic zero) for a floating type.
template <class F>
void dispatch_floating(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{}, float{});
    case ScalarType::Double:
      return f(double{}, double{});
    case ScalarType::Half:
      return f(torch::headeronly::Half{}, float{});
    case ScalarType::BFloat16:
      return f(torch::headeronly::BFloat16{}, float{});
    default:
      throw std::invalid_argument("not a floating type");
  }
}

}  // namespace d2_ops
