// Suppression on the device, whatever the boxes are.
#pragma once

#include "d2_ops/cuda/nms.cuh"

#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "device.h"

namespace d2_ops {

constexpr int kSettleThreads = 256;
constexpr int64_t kMostTiles = 6000;  // 48 KB of shared words; their table would fill a GPU long before

// Sorted values and where they were; NaN counts as largest.
inline std::pair<Tensor, Tensor> stable_sort(const Tensor& values, bool descending) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(int64_t{0}), from(descending)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  Tensor sorted = to<Tensor>(stack[0]);
  return {sorted, to<Tensor>(stack[1])};
}

inline Tensor rows(const Tensor& tensor, const Tensor& index) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 3> stack{from(tensor), from(int64_t{0}), from(index)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::index_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

// The one place where the host waits: the result's size must be known.
inline Tensor selected(const Tensor& tensor, const Tensor& mask) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 2> stack{from(tensor), from(mask)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::masked_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

// compare(boxes, classes, grid, stream, words) launches compare_boxes with what it is given: rows by class and, within
// a class, by decreasing score; their classes, or null.
template <class Compare>
Tensor greedy_nms(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, const Compare& compare) {
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const int64_t n = boxes.size(0), tiles = (n + kTile - 1) / kTile;
  if (n == 0) return torch::stable::new_empty(boxes, {0}, ScalarType::Long);
  require(tiles <= kMostTiles, "nms: ", n, " boxes on CUDA, at most ", kMostTiles * kTile, " can be compared");

  const Tensor order = stable_sort(scores, true).second;
  Tensor visited = order, classes, ranks;
  if (idxs != nullptr) {
    std::tie(classes, ranks) = stable_sort(rows(*idxs, order), false);
    visited = rows(order, ranks);
  }
  const Tensor words = torch::stable::new_empty(boxes, {n, tiles}, ScalarType::Long);
  const Tensor keep = torch::stable::new_empty(boxes, {n}, ScalarType::Bool);
  const int64_t* class_data = idxs == nullptr ? nullptr : data<int64_t>(classes);
  const int64_t* rank_data = idxs == nullptr ? nullptr : data<int64_t>(ranks);
  const cudaStream_t stream = current_stream(boxes);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(tiles));
  compare(rows(boxes, visited), class_data, grid, stream, mutable_data<uint64_t>(words));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const unsigned blocks = idxs == nullptr ? 1 : static_cast<unsigned>(n < 1024 ? n : 1024);
  settle_classes<<<blocks, kSettleThreads, tiles * sizeof(uint64_t), stream>>>(
      data<uint64_t>(words), class_data, rank_data, n, tiles, mutable_data<bool>(keep));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return selected(order, keep);
}

}  // namespace d2_ops
