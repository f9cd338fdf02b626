// Grid-stride loops.
#pragma once

#include <cstdint>

namespace d2_ops {

constexpr int kThreads = 256;

inline unsigned blocks_for(int64_t items) {
  const int64_t blocks = (items + kThreads - 1) / kThreads;
  constexpr int64_t kMost = 1 << 16;  // more than fills any GPU: the loop takes the rest
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

__device__ __forceinline__ int64_t first_item() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ int64_t item_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

}  // namespace d2_ops
