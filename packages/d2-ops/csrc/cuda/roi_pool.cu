#include "d2_ops/cuda/roi_pool.cuh"

#include <tuple>

#include "../roi_pool_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

std::tuple<Tensor, Tensor> roi_pool_cuda(const Tensor& input, const Tensor& boxes, double spatial_scale,
                                         int64_t pooled_height, int64_t pooled_width) {
  const Regions regions{boxes, kRoiRow, {spatial_scale}};
  check_pooling({input}, regions, pooled_height, pooled_width, "roi_pool");
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const ScalarType type = input.scalar_type();
  const std::vector<Tensor> maps{contiguous_as(input, type)};
  const Tensor rois = contiguous_as(boxes, compute_type(type));
  const Tensor out = torch::stable::new_empty(maps[0], {rois.size(0), input.size(1), pooled_height, pooled_width});
  const Tensor argmax = torch::stable::new_empty(
      maps[0], {rois.size(0), input.size(1), pooled_height, pooled_width}, ScalarType::Int);
  const int64_t items = out.numel();
  if (items == 0) return {out, argmax};
  dispatch_floating(type, [&](auto storage_zero, auto zero) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    roi_pool_forward<S, T><<<blocks_for(items), kThreads, 0, current_stream(out)>>>(
        feature_levels<const S>(maps, regions.scales, std::nullopt), data<T>(rois), items,
        RoiPoolOptions{pooled_height, pooled_width}, mutable_data<S>(out), mutable_data<int32_t>(argmax));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {out, argmax};
}

Tensor roi_pool_backward_cuda(const Tensor& grad, const Tensor& argmax, const Tensor& boxes,
                              std::vector<int64_t> input_sizes) {
  check_argmax(argmax, grad);
  const RoiPoolOptions options{grad.size(2), grad.size(3)};
  const Regions regions{boxes, kRoiRow, {1.0}};
  check_unpooling(grad, regions, options.pooled_height, options.pooled_width, input_sizes, "roi_pool_backward");
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const ScalarType type = compute_type(grad.scalar_type());
  const Tensor grad_out = contiguous_as(grad, grad.scalar_type()), rois = contiguous_as(boxes, type);
  const Tensor offsets = contiguous_as(argmax, ScalarType::Int);
  const std::vector<Tensor> maps = zero_maps(grad_out, input_sizes, type);  // float32 also for half precision
  const int64_t items = grad_out.numel();
  if (items > 0 && input_sizes[0] > 0) {
    dispatch_floating(grad_out.scalar_type(), [&](auto storage_zero, auto zero) {
      using S = decltype(storage_zero);
      using T = decltype(zero);
      roi_pool_backward<S, T><<<blocks_for(items), kThreads, 0, current_stream(grad)>>>(
          data<S>(grad_out), data<int32_t>(offsets), data<T>(rois), items, options,
          feature_levels<T>(maps, regions.scales, std::nullopt));
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return contiguous_as(maps[0], grad.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("roi_pool", D2_OPS_BOX(&d2_ops::roi_pool_cuda));
  m.impl("roi_pool_backward", D2_OPS_BOX(&d2_ops::roi_pool_backward_cuda));
}
