#include "d2_ops/cuda/roi_align.cuh"

#include "../roi_align_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

Tensor roi_align_cuda(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                      int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned};
  check_roi_align_arguments(input, "input", boxes, options, "roi_align");
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const Tensor features = contiguous_as(input, input.scalar_type());
  const Tensor rois = contiguous_as(boxes, compute_type(input.scalar_type()));
  const FeatureShape shape{features.size(0), features.size(1), features.size(2), features.size(3)};
  const Tensor out = torch::stable::new_empty(features, {rois.size(0), shape.channels, pooled_height, pooled_width});
  const int64_t items = out.numel();
  if (items == 0) return out;
  dispatch_floating(features.scalar_type(), [&](auto storage_zero, auto zero) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    roi_align_forward<S, T><<<blocks_for(items), kThreads, 0, current_stream(input)>>>(
        data<S>(features), data<T>(rois), items, shape, options, mutable_data<S>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

Tensor roi_align_backward_cuda(const Tensor& grad, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                               int64_t pooled_width, int64_t batch, int64_t channels, int64_t height, int64_t width,
                               int64_t sampling_ratio, bool aligned) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned};
  check_roi_align_gradient(grad, boxes, options, batch, channels, height, width);
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const ScalarType type = compute_type(grad.scalar_type());
  const Tensor grad_out = contiguous_as(grad, grad.scalar_type()), rois = contiguous_as(boxes, type);
  // Summed in float32 also for half precision.
  const Tensor grad_input = torch::stable::new_zeros(grad_out, {batch, channels, height, width}, type);
  const int64_t items = grad_out.numel();
  if (items > 0 && grad_input.numel() > 0) {
    dispatch_floating(grad_out.scalar_type(), [&](auto storage_zero, auto zero) {
      using S = decltype(storage_zero);
      using T = decltype(zero);
      roi_align_backward<S, T><<<blocks_for(items), kThreads, 0, current_stream(grad)>>>(
          data<S>(grad_out), data<T>(rois), items, {batch, channels, height, width}, options,
          mutable_data<T>(grad_input));
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return contiguous_as(grad_input, grad.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&d2_ops::roi_align_cuda));
  m.impl("roi_align_forward", TORCH_BOX(&d2_ops::roi_align_cuda));
  m.impl("roi_align_backward", TORCH_BOX(&d2_ops::roi_align_backward_cuda));
}
