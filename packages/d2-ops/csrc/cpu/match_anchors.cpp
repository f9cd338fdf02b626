#include "d2_ops/match_anchors.h"

#include <tuple>

#include "../match_anchors_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> match_anchors_cpu(const Tensor& gt_boxes, const Tensor& anchors,
                                                     std::vector<double> thresholds, std::vector<int64_t> labels,
                                                     bool allow_low_quality_matches) {
  check_match_anchors_arguments(gt_boxes, anchors);
  const ScalarType type = compute_type(anchors.scalar_type());
  const Tensor gts = contiguous_as(gt_boxes, type), boxes = contiguous_as(anchors, type);
  const int64_t n = boxes.size(0);
  Tensor index = torch::stable::new_empty(boxes, {n}, ScalarType::Long);
  Tensor label = torch::stable::new_empty(boxes, {n}, ScalarType::Char);
  Tensor quality = torch::stable::new_empty(boxes, {n});
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    const MatchBins<T> bins = match_bins<T>(thresholds, labels);
    if (gts.size(0) == 0) {
      torch::stable::zero_(index);
      torch::stable::zero_(quality);
      torch::stable::fill_(label, bins.labels[0]);
      return;
    }
    match_anchors(data<T>(gts), gts.size(0), data<T>(boxes), n, bins, allow_low_quality_matches,
                  AnchorMatches<T>{mutable_data<int64_t>(index), mutable_data<int8_t>(label), mutable_data<T>(quality)},
                  TorchFor{});
  });
  return {index, label, quality};
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) { m.impl("match_anchors", D2_OPS_BOX(&d2_ops::match_anchors_cpu)); }
