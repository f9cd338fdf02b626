#include "d2_ops/roi_align_rotated.h"

#include "../roi_align_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Tensor roi_align_rotated_cpu(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                             int64_t pooled_width, int64_t sampling_ratio) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, true};
  check_roi_align_arguments(input, "input", boxes, kRotatedRoiRow, options, "roi_align_rotated");
  const ScalarType type = compute_type(input.scalar_type());
  const Tensor features = contiguous_as(input, type), rois = contiguous_as(boxes, type);
  const int64_t count = rois.size(0), channels = features.size(1), height = features.size(2), width = features.size(3);
  require_small_planes(height, width, "roi_align_rotated");
  const Tensor out = torch::stable::new_empty(features, {count, channels, pooled_height, pooled_width});
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    require_images(data<T>(rois), kRotatedRoiRow, count, features.size(0), "roi_align_rotated");
    roi_align_rotated(data<T>(features), data<T>(rois), count, channels, height, width, options, mutable_data<T>(out),
                      TorchFor{});
  });
  return contiguous_as(out, input.scalar_type());
}

Tensor roi_align_rotated_backward_cpu(const Tensor& grad, const Tensor& boxes, double spatial_scale,
                                      int64_t pooled_height, int64_t pooled_width, int64_t batch, int64_t channels,
                                      int64_t height, int64_t width, int64_t sampling_ratio) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, true};
  const char* op = "roi_align_rotated_backward";
  check_roi_align_gradient(grad, boxes, kRotatedRoiRow, options, batch, channels, height, width, op);
  require_small_planes(height, width, op);
  const ScalarType type = compute_type(grad.scalar_type());
  const Tensor grad_out = contiguous_as(grad, type), rois = contiguous_as(boxes, type);
  const Tensor grad_input = torch::stable::new_zeros(grad_out, {batch, channels, height, width});
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    require_images(data<T>(rois), kRotatedRoiRow, rois.size(0), batch, op);
    roi_align_rotated_backward(data<T>(grad_out), data<T>(rois), rois.size(0), channels, height, width, options,
                               mutable_data<T>(grad_input), TorchFor{});
  });
  return contiguous_as(grad_input, grad.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("roi_align_rotated", TORCH_BOX(&d2_ops::roi_align_rotated_cpu));
  m.impl("roi_align_rotated_forward", TORCH_BOX(&d2_ops::roi_align_rotated_cpu));
  m.impl("roi_align_rotated_backward", TORCH_BOX(&d2_ops::roi_align_rotated_backward_cpu));
}
