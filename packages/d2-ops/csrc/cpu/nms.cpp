#include "d2_ops/nms.h"

#include "../nms_arguments.h"
#include "greedy_nms.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Suppression suppress_boxes(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  const Tensor corners = contiguous_as(boxes, compute_type(boxes.scalar_type()));
  return suppression(scores, idxs, [&](const auto* scores_in, const int64_t* classes) {
    Suppression all;
    dispatch_compute(corners.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      all = nms_of_all(data<T>(corners), scores_in, classes, corners.size(0), iou_threshold, TorchFor{});
    });
    return all;
  });
}

Tensor nms_cpu(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms_arguments(boxes, 4, scores, nullptr, iou_threshold, "nms");
  return kept(boxes, suppress_boxes(boxes, scores, nullptr, iou_threshold));
}

Tensor batched_nms_cpu(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, 4, scores, &idxs, iou_threshold, "batched_nms");
  return kept(boxes, suppress_boxes(boxes, scores, &idxs, iou_threshold));
}

std::tuple<Tensor, Tensor> batched_nms_of_all_cpu(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                                                  double iou_threshold) {
  check_nms_arguments(boxes, 4, scores, &idxs, iou_threshold, "batched_nms_of_all");
  return order_and_kept(boxes, suppress_boxes(boxes, scores, &idxs, iou_threshold));
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("nms", D2_OPS_BOX(&d2_ops::nms_cpu));
  m.impl("batched_nms", D2_OPS_BOX(&d2_ops::batched_nms_cpu));
  m.impl("batched_nms_of_all", D2_OPS_BOX(&d2_ops::batched_nms_of_all_cpu));
}
