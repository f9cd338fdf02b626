// RoIAlign on the device, whatever the regions are. Bin: RoiBin or another with its interface.
#pragma once

#include "d2_ops/cuda/roi_align.cuh"
#include "device.h"

namespace d2_ops {

template <template <class> class Bin>
Tensor pool_regions(const Tensor& input, const Tensor& boxes, const RoiAlignOptions& options) {
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const Tensor features = contiguous_as(input, input.scalar_type());
  const Tensor rois = contiguous_as(boxes, compute_type(input.scalar_type()));
  const FeatureShape shape{features.size(0), features.size(1), features.size(2), features.size(3)};
  const Tensor out = torch::stable::new_empty(
      features, {rois.size(0), shape.channels, options.pooled_height, options.pooled_width});
  const int64_t items = out.numel();
  if (items == 0) return out;
  dispatch_floating(features.scalar_type(), [&](auto storage_zero, auto zero) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    roi_align_forward<Bin<T>, S, T><<<blocks_for(items), kThreads, 0, current_stream(input)>>>(
        data<S>(features), data<T>(rois), items, shape, options, mutable_data<S>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

template <template <class> class Bin>
Tensor unpool_regions(const Tensor& grad, const Tensor& boxes, const FeatureShape& shape,
                      const RoiAlignOptions& options) {
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const ScalarType type = compute_type(grad.scalar_type());
  const Tensor grad_out = contiguous_as(grad, grad.scalar_type()), rois = contiguous_as(boxes, type);
  // Summed in float32 also for half precision.
  const Tensor grad_input =
      torch::stable::new_zeros(grad_out, {shape.images, shape.channels, shape.height, shape.width}, type);
  const int64_t items = grad_out.numel();
  if (items > 0 && grad_input.numel() > 0) {
    dispatch_floating(grad_out.scalar_type(), [&](auto storage_zero, auto zero) {
      using S = decltype(storage_zero);
      using T = decltype(zero);
      roi_align_backward<Bin<T>, S, T><<<blocks_for(items), kThreads, 0, current_stream(grad)>>>(
          data<S>(grad_out), data<T>(rois), items, shape, options, mutable_data<T>(grad_input));
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return contiguous_as(grad_input, grad.scalar_type());
}

}  // namespace d2_ops
