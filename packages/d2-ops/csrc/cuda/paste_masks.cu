#include "d2_ops/cuda/paste_masks.cuh"

#include "../paste_masks_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

Tensor paste_masks_cuda(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold) {
  check_paste_masks_arguments(masks, boxes, height, width, threshold);
  const torch::stable::accelerator::DeviceGuard guard(masks.get_device_index());
  const Tensor soft = contiguous_as(masks, masks.scalar_type());
  const Tensor corners = contiguous_as(boxes, compute_type(masks.scalar_type()));
  const PasteShape shape{soft.size(0), soft.size(1), soft.size(2), height, width};
  if (soft.numel() == 0) return torch::stable::new_zeros(soft, {shape.count, height, width}, pasted_type(threshold));
  const Tensor out = torch::stable::new_empty(soft, {shape.count, height, width}, pasted_type(threshold));
  const int64_t bytes = out.numel();
  if (bytes == 0) return out;
  dispatch_floating(soft.scalar_type(), [&](auto storage_zero, auto zero) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    paste_masks<S, T><<<blocks_for((bytes + 3) / 4), kThreads, 0, current_stream(masks)>>>(
        data<S>(soft), data<T>(corners), shape, static_cast<T>(threshold), mutable_data<uint8_t>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) { m.impl("paste_masks_in_image", D2_OPS_BOX(&d2_ops::paste_masks_cuda)); }
