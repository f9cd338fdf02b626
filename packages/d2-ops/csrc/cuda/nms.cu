#include "../nms_arguments.h"
#include "d2_ops/iou_threshold.h"
#include "greedy_nms.h"

namespace d2_ops {
namespace {

Suppression suppress_boxes(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  const ScalarType type = compute_type(boxes.scalar_type());
  return suppression(
      boxes, scores, idxs, [&](const Tensor& sorted) { return contiguous_as(sorted, type); },
      [&](const Tensor& corners, const int64_t* classes, dim3 grid, cudaStream_t stream, const NmsBand& band,
          const uint64_t* dropped, uint64_t* words) {
        dispatch_compute(type, [&](auto zero) {
          using T = decltype(zero);
          compare_boxes<<<grid, kTile, 0, stream>>>(data<AlignedBox<T>>(corners), classes, corners.size(0),
                                                    round_down<T>(iou_threshold), band, dropped, words);
        });
      });
}

Tensor nms_cuda(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms_arguments(boxes, 4, scores, nullptr, iou_threshold, "nms");
  return kept(suppress_boxes(boxes, scores, nullptr, iou_threshold));
}

Tensor batched_nms_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms_arguments(boxes, 4, scores, &idxs, iou_threshold, "batched_nms");
  return kept(suppress_boxes(boxes, scores, &idxs, iou_threshold));
}

Suppression batched_nms_of_all_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                                       double iou_threshold) {
  check_nms_arguments(boxes, 4, scores, &idxs, iou_threshold, "batched_nms_of_all");
  return suppress_boxes(boxes, scores, &idxs, iou_threshold);
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("nms", D2_OPS_BOX(&d2_ops::nms_cuda));
  m.impl("batched_nms", D2_OPS_BOX(&d2_ops::batched_nms_cuda));
  m.impl("batched_nms_of_all", D2_OPS_BOX(&d2_ops::batched_nms_of_all_cuda));
}
