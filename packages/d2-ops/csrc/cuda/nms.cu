#include "d2_ops/cuda/nms.cuh"

#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "../nms_arguments.h"
#include "d2_ops/iou_threshold.h"
#include "device.h"

namespace d2_ops {
namespace {

using torch::stable::detail::from;
using torch::stable::detail::to;

constexpr int kSettleThreads = 256;
constexpr int64_t kMostTiles = 6000;  // 48 KB of shared words; their table would fill a GPU long before

// Sorted values and where they were; NaN counts as largest.
std::pair<Tensor, Tensor> stable_sort(const Tensor& values, bool descending) {
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(int64_t{0}), from(descending)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  Tensor sorted = to<Tensor>(stack[0]);
  return {sorted, to<Tensor>(stack[1])};
}

Tensor rows(const Tensor& tensor, const Tensor& index) {
  std::array<StableIValue, 3> stack{from(tensor), from(int64_t{0}), from(index)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::index_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

// The one place where the host waits: the result's size must be known.
Tensor selected(const Tensor& tensor, const Tensor& mask) {
  std::array<StableIValue, 2> stack{from(tensor), from(mask)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::masked_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

Tensor keep_boxes(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
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
  const Tensor sorted_boxes = contiguous_as(rows(boxes, visited), compute_type(boxes.scalar_type()));
  const Tensor words = torch::stable::new_empty(boxes, {n, tiles}, ScalarType::Long);
  const Tensor keep = torch::stable::new_empty(boxes, {n}, ScalarType::Bool);
  const int64_t* class_data = idxs == nullptr ? nullptr : data<int64_t>(classes);
  const int64_t* rank_data = idxs == nullptr ? nullptr : data<int64_t>(ranks);
  const cudaStream_t stream = current_stream(boxes);
  dispatch_compute(sorted_boxes.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(tiles));
    compare_boxes<T><<<grid, kTile, 0, stream>>>(data<T>(sorted_boxes), class_data, n, round_down<T>(iou_threshold),
                                                 mutable_data<uint64_t>(words));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const unsigned blocks = idxs == nullptr ? 1 : static_cast<unsigned>(n < 1024 ? n : 1024);
  settle_classes<<<blocks, kSettleThreads, tiles * sizeof(uint64_t), stream>>>(
      data<uint64_t>(words), class_data, rank_data, n, tiles, mutable_data<bool>(keep));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return selected(order, keep);
}

Tensor nms_cuda(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms_arguments(boxes, scores, nullptr, iou_threshold, "nms");
  return keep_boxes(boxes, scores, nullptr, iou_threshold);
}

Tensor batched_nms_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, scores, &idxs, iou_threshold, "batched_nms");
  return keep_boxes(boxes, scores, &idxs, iou_threshold);
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("nms", TORCH_BOX(&d2_ops::nms_cuda));
  m.impl("batched_nms", TORCH_BOX(&d2_ops::batched_nms_cuda));
}
