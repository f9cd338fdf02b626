// Suppression on the device, whatever the boxes are.
#pragma once

#include "d2_ops/cuda/nms.cuh"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "device.h"

namespace d2_ops {

constexpr int kSettleThreads = 256;
constexpr int64_t kWordsBytes = 256 << 20;  // for the words of a band: 46 000 boxes are one band

// Sorted values and where they were; NaN counts as largest.
inline std::pair<Tensor, Tensor> stable_sort(const Tensor& values, bool descending) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(int64_t{0}), from(descending)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  Tensor sorted = to<Tensor>(stack[0]);
  return {sorted, to<Tensor>(stack[1])};
}

inline Tensor rows(const Tensor& tensor, const Tensor& index) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 3> stack{from(tensor), from(int64_t{0}), from(index)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::index_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

// The one place where the host waits: the result's size must be known.
inline Tensor selected(const Tensor& tensor, const Tensor& mask) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 2> stack{from(tensor), from(mask)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::masked_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

// All boxes by decreasing score, and whether each of them, in that order, is kept.
using Suppression = std::tuple<Tensor, Tensor>;

// prepare(boxes by class and, within a class, by decreasing score) makes them ready for
// compare(prepared, classes or null, grid, stream, band, dropped, words), which launches compare_boxes.
template <class Prepare, class Compare>
Suppression suppression(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, const Prepare& prepare,
                        const Compare& compare) {
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const int64_t n = boxes.size(0), tiles = (n + kTile - 1) / kTile;
  if (n == 0)
    return {torch::stable::new_empty(boxes, {0}, ScalarType::Long),
            torch::stable::new_empty(boxes, {0}, ScalarType::Bool)};

  const Tensor order = stable_sort(scores, true).second;
  Tensor visited = order, classes, ranks;
  if (idxs != nullptr) {
    std::tie(classes, ranks) = stable_sort(rows(*idxs, order), false);
    visited = rows(order, ranks);
  }
  const Tensor prepared = prepare(rows(boxes, visited));
  const int64_t band_tiles = std::clamp<int64_t>(kWordsBytes / (kTile * tiles * sizeof(uint64_t)), 1, tiles);
  const Tensor words = torch::stable::new_empty(boxes, {band_tiles * kTile, tiles}, ScalarType::Long);
  const Tensor dropped = torch::stable::new_zeros(boxes, {tiles}, ScalarType::Long);
  const Tensor keep = torch::stable::new_empty(boxes, {n}, ScalarType::Bool);
  const int64_t* class_data = idxs == nullptr ? nullptr : data<int64_t>(classes);
  const int64_t* rank_data = idxs == nullptr ? nullptr : data<int64_t>(ranks);
  const cudaStream_t stream = current_stream(boxes);
  const unsigned blocks = idxs == nullptr ? 1 : static_cast<unsigned>(std::min<int64_t>(n, 1024));
  for (int64_t first = 0; first < tiles; first += band_tiles) {
    const NmsBand band{first, std::min(first + band_tiles, tiles), tiles};
    const dim3 grid(static_cast<unsigned>(tiles - first), static_cast<unsigned>(band.end - first));
    compare(prepared, class_data, grid, stream, band, data<uint64_t>(dropped), mutable_data<uint64_t>(words));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    settle_classes<<<blocks, kSettleThreads, 0, stream>>>(data<uint64_t>(words), class_data, rank_data, n, band,
                                                          mutable_data<uint64_t>(dropped), mutable_data<bool>(keep));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {order, keep};
}

inline Tensor kept(const Suppression& all) {
  const auto& [order, keep] = all;
  if (order.size(0) == 0) return order;
  const torch::stable::accelerator::DeviceGuard guard(order.get_device_index());
  return selected(order, keep);
}

}  // namespace d2_ops
