#include "d2_ops/nms.h"

#include <cstring>
#include <vector>

#include "../nms_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Tensor keep_boxes(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  const ScalarType score_type = compute_type(scores.scalar_type());
  const Tensor boxes_in = contiguous_as(boxes, compute_type(boxes.scalar_type()));
  const Tensor scores_in = contiguous_as(scores, score_type);
  const Tensor idxs_in = idxs == nullptr ? Tensor() : contiguous_as(*idxs, ScalarType::Long);
  const int64_t* classes = idxs == nullptr ? nullptr : data<int64_t>(idxs_in);
  std::vector<int64_t> keep;
  dispatch_compute(boxes_in.scalar_type(), [&](auto box_zero) {
    using T = decltype(box_zero);
    dispatch_compute(score_type, [&](auto score_zero) {
      using S = decltype(score_zero);
      keep = nms(data<T>(boxes_in), data<S>(scores_in), classes, boxes_in.size(0), iou_threshold, TorchFor{});
    });
  });
  Tensor out = torch::stable::new_empty(boxes, {static_cast<int64_t>(keep.size())}, ScalarType::Long);
  if (!keep.empty()) std::memcpy(out.mutable_data_ptr(), keep.data(), keep.size() * sizeof(int64_t));
  return out;
}

Tensor nms_cpu(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms_arguments(boxes, scores, nullptr, iou_threshold, "nms");
  return keep_boxes(boxes, scores, nullptr, iou_threshold);
}

Tensor batched_nms_cpu(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, scores, &idxs, iou_threshold, "batched_nms");
  return keep_boxes(boxes, scores, &idxs, iou_threshold);
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("nms", TORCH_BOX(&d2_ops::nms_cpu));
  m.impl("batched_nms", TORCH_BOX(&d2_ops::batched_nms_cpu));
}
