#include "d2_ops/cuda/match_anchors.cuh"

#include <tuple>

#include "../match_anchors_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> match_anchors_cuda(const Tensor& gt_boxes, const Tensor& anchors,
                                                      std::vector<double> thresholds, std::vector<int64_t> labels,
                                                      bool allow_low_quality_matches) {
  check_match_anchors_arguments(gt_boxes, anchors);
  const torch::stable::accelerator::DeviceGuard guard(anchors.get_device_index());
  const ScalarType type = compute_type(anchors.scalar_type());
  const Tensor gts = contiguous_as(gt_boxes, type), boxes = contiguous_as(anchors, type);
  const int64_t n = boxes.size(0), gt_count = gts.size(0);
  const Tensor index = torch::stable::new_empty(boxes, {n}, ScalarType::Long);
  const Tensor label = torch::stable::new_empty(boxes, {n}, ScalarType::Char);
  const Tensor quality = torch::stable::new_empty(boxes, {n});
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    using Key = QualityKey<T>;
    const MatchBins<T> bins = match_bins<T>(thresholds, labels);
    if (n == 0) return;
    const ScalarType key_type = sizeof(Key) == 8 ? ScalarType::Long : ScalarType::Int;
    const Tensor gt_best = torch::stable::new_zeros(boxes, {gt_count}, key_type);
    const cudaStream_t stream = current_stream(boxes);
    match_anchors<<<blocks_for(n), kThreads, 0, stream>>>(data<T>(gts), gt_count, data<T>(boxes), n, bins,
                                                          mutable_data<Key>(gt_best), mutable_data<int64_t>(index),
                                                          mutable_data<int8_t>(label), mutable_data<T>(quality));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    if (!allow_low_quality_matches || gt_count == 0) return;
    rescue_anchors<<<blocks_for(n), kThreads, 0, stream>>>(data<T>(gts), gt_count, data<T>(boxes), n,
                                                           data<Key>(gt_best), mutable_data<int8_t>(label));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {index, label, quality};
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) { m.impl("match_anchors", D2_OPS_BOX(&d2_ops::match_anchors_cuda)); }
