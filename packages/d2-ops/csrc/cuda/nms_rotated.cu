#include "../nms_arguments.h"
#include "greedy_nms.h"
#include "rotated_boxes.h"

namespace d2_ops {
namespace {

Suppression suppress_boxes(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  return suppression(boxes, scores, idxs, rotated_boxes,
                     [&](const Tensor& prepared, const int64_t* classes, dim3 grid, cudaStream_t stream,
                         const NmsBand& band, const uint64_t* dropped, uint64_t* words) {
                       compare_boxes<<<grid, kTile, 0, stream>>>(data<RotatedBox>(prepared), classes, prepared.size(0),
                                                                 iou_threshold, band, dropped, words);
                     });
}

Tensor nms_rotated_cuda(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms_arguments(boxes, kRotatedBoxRow, scores, nullptr, iou_threshold, "nms_rotated");
  return kept(suppress_boxes(boxes, scores, nullptr, iou_threshold));
}

Tensor batched_nms_rotated_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, kRotatedBoxRow, scores, &idxs, iou_threshold, "batched_nms_rotated");
  return kept(suppress_boxes(boxes, scores, &idxs, iou_threshold));
}

Suppression batched_nms_rotated_of_all_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                                               double iou_threshold) {
  check_nms_arguments(boxes, kRotatedBoxRow, scores, &idxs, iou_threshold, "batched_nms_rotated_of_all");
  return suppress_boxes(boxes, scores, &idxs, iou_threshold);
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("nms_rotated", D2_OPS_BOX(&d2_ops::nms_rotated_cuda));
  m.impl("batched_nms_rotated", D2_OPS_BOX(&d2_ops::batched_nms_rotated_cuda));
  m.impl("batched_nms_rotated_of_all", D2_OPS_BOX(&d2_ops::batched_nms_rotated_of_all_cuda));
}
