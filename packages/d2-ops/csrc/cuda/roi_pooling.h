// RoIAlign on the device, whatever the regions are. Bin: UprightBin or another with its interface.
#pragma once

#include "../roi_arguments.h"
#include "d2_ops/cuda/roi_align.cuh"
#include "device.h"

namespace d2_ops {

template <template <class> class Bin>
struct PoolingKernels {
  static Tensor pool(const std::vector<Tensor>& features, const Regions& regions, const RoiAlignOptions& options,
                     const char*) {
    const torch::stable::accelerator::DeviceGuard guard(features[0].get_device_index());
    const ScalarType type = features[0].scalar_type();
    const std::vector<Tensor> maps = contiguous_as(features, type);
    const Tensor rois = contiguous_as(regions.boxes, compute_type(type));
    const std::optional<Tensor> levels = contiguous_levels(regions);
    const Tensor out = torch::stable::new_empty(
        maps[0], {rois.size(0), maps[0].size(1), options.pooled_height, options.pooled_width});
    const int64_t items = out.numel();
    if (items == 0) return out;
    dispatch_floating(type, [&](auto storage_zero, auto zero) {
      using S = decltype(storage_zero);
      using T = decltype(zero);
      roi_align_forward<Bin<T>, S, T><<<blocks_for(items), kThreads, 0, current_stream(out)>>>(
          feature_levels<const S>(maps, regions.scales, levels), data<T>(rois), items, options, mutable_data<S>(out));
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
  }

  static std::vector<Tensor> unpool(const Tensor& grad, const Regions& regions, const RoiAlignOptions& options,
                                    const std::vector<int64_t>& sizes, const char*) {
    const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
    const ScalarType type = compute_type(grad.scalar_type());
    const Tensor grad_out = contiguous_as(grad, grad.scalar_type()), rois = contiguous_as(regions.boxes, type);
    const std::optional<Tensor> levels = contiguous_levels(regions);
    // Summed in float32 also for half precision.
    const std::vector<Tensor> maps = zero_maps(grad_out, sizes, type);
    const int64_t items = grad_out.numel();
    if (items > 0 && sizes[0] > 0) {
      dispatch_floating(grad_out.scalar_type(), [&](auto storage_zero, auto zero) {
        using S = decltype(storage_zero);
        using T = decltype(zero);
        roi_align_backward<Bin<T>, S, T><<<blocks_for(items), kThreads, 0, current_stream(grad)>>>(
            data<S>(grad_out), data<T>(rois), items, options, feature_levels<T>(maps, regions.scales, levels));
      });
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
    return contiguous_as(maps, grad.scalar_type());
  }
};

}  // namespace d2_ops
