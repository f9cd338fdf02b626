#include "d2_ops/nms_rotated.h"

#include "../nms_arguments.h"
#include "greedy_nms.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Suppression suppress_boxes(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  const Tensor rows = contiguous_as(boxes, ScalarType::Double);
  return suppression(scores, idxs, [&](const auto* scores_in, const int64_t* classes) {
    return nms_rotated_of_all(data<double>(rows), scores_in, classes, rows.size(0), iou_threshold, TorchFor{});
  });
}

Tensor nms_rotated_cpu(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms_arguments(boxes, kRotatedBoxRow, scores, nullptr, iou_threshold, "nms_rotated");
  return kept(boxes, suppress_boxes(boxes, scores, nullptr, iou_threshold));
}

Tensor batched_nms_rotated_cpu(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, kRotatedBoxRow, scores, &idxs, iou_threshold, "batched_nms_rotated");
  return kept(boxes, suppress_boxes(boxes, scores, &idxs, iou_threshold));
}

std::tuple<Tensor, Tensor> batched_nms_rotated_of_all_cpu(const Tensor& boxes, const Tensor& scores,
                                                          const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, kRotatedBoxRow, scores, &idxs, iou_threshold, "batched_nms_rotated_of_all");
  return order_and_kept(boxes, suppress_boxes(boxes, scores, &idxs, iou_threshold));
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("nms_rotated", D2_OPS_BOX(&d2_ops::nms_rotated_cpu));
  m.impl("batched_nms_rotated", D2_OPS_BOX(&d2_ops::batched_nms_rotated_cpu));
  m.impl("batched_nms_rotated_of_all", D2_OPS_BOX(&d2_ops::batched_nms_rotated_of_all_cpu));
}
