#include "d2_ops/roi_align.h"

#include "../roi_align_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Tensor roi_align_cpu(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                     int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned};
  check_roi_align_arguments(input, "input", boxes, 5, options, "roi_align");
  const ScalarType type = compute_type(input.scalar_type());
  const Tensor features = contiguous_as(input, type), rois = contiguous_as(boxes, type);
  const int64_t count = rois.size(0), channels = features.size(1), height = features.size(2), width = features.size(3);
  const Tensor out = torch::stable::new_empty(features, {count, channels, pooled_height, pooled_width});
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    require_images(data<T>(rois), 5, count, features.size(0), "roi_align");
    roi_align(data<T>(features), data<T>(rois), count, channels, height, width, options, mutable_data<T>(out),
              TorchFor{});
  });
  return contiguous_as(out, input.scalar_type());
}

Tensor roi_align_backward_cpu(const Tensor& grad, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                              int64_t pooled_width, int64_t batch, int64_t channels, int64_t height, int64_t width,
                              int64_t sampling_ratio, bool aligned) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned};
  check_roi_align_gradient(grad, boxes, 5, options, batch, channels, height, width, "roi_align_backward");
  const ScalarType type = compute_type(grad.scalar_type());
  const Tensor grad_out = contiguous_as(grad, type), rois = contiguous_as(boxes, type);
  const Tensor grad_input = torch::stable::new_zeros(grad_out, {batch, channels, height, width});
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    require_images(data<T>(rois), 5, rois.size(0), batch, "roi_align_backward");
    roi_align_backward(data<T>(grad_out), data<T>(rois), rois.size(0), channels, height, width, options,
                       mutable_data<T>(grad_input), TorchFor{});
  });
  return contiguous_as(grad_input, grad.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("roi_align", TORCH_BOX(&d2_ops::roi_align_cpu));
  m.impl("roi_align_forward", TORCH_BOX(&d2_ops::roi_align_cpu));
  m.impl("roi_align_backward", TORCH_BOX(&d2_ops::roi_align_backward_cpu));
}
