// RoI pooling on the CPU, whatever the regions are: the bindings' way from tensors to a kernel and back.
#pragma once

#include <optional>

#include "../roi_arguments.h"
#include "parallel_for.h"

namespace d2_ops {

// kernel(feature levels, rois, count, options, out, parallel for) fills out. The maps are of a type to compute in.
template <class Options, class Kernel>
Tensor pool_maps(const std::vector<Tensor>& maps, const Regions& regions, const Options& options, const char* op,
                 const Kernel& kernel) {
  const ScalarType type = maps[0].scalar_type();
  const Tensor rois = contiguous_as(regions.boxes, type);
  const std::optional<Tensor> levels = contiguous_levels(regions);
  const int64_t count = rois.size(0);
  const Tensor out =
      empty_result(maps[0], {count, maps[0].size(1), options.pooled_height, options.pooled_width}, type);
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    const auto from = feature_levels<const T>(maps, regions.scales, levels);
    require_images_and_levels(from, data<T>(rois), regions.columns, count, op);
    kernel(from, data<T>(rois), count, options, mutable_data<T>(out), TorchFor{});
  });
  return out;
}

// pool_maps of contiguous maps.
template <class Options, class Kernel>
Tensor pool_regions(const std::vector<Tensor>& features, const Regions& regions, const Options& options,
                    const char* op, const Kernel& kernel) {
  const ScalarType type = features[0].scalar_type();
  return contiguous_as(pool_maps(contiguous_as(features, compute_type(type)), regions, options, op, kernel), type);
}

// kernel(grad, rois, count, options, feature levels, parallel for) adds to the maps, zeros of the type to compute in.
template <class Options, class Kernel>
void unpool_maps(const Tensor& grad, const Regions& regions, const Options& options, const std::vector<Tensor>& maps,
                 const char* op, const Kernel& kernel) {
  const ScalarType type = compute_type(grad.scalar_type());
  const Tensor grad_out = contiguous_as(grad, type), rois = contiguous_as(regions.boxes, type);
  const std::optional<Tensor> levels = contiguous_levels(regions);
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    const auto to = feature_levels<T>(maps, regions.scales, levels);
    require_images_and_levels(to, data<T>(rois), regions.columns, rois.size(0), op);
    kernel(data<T>(grad_out), data<T>(rois), rois.size(0), options, to, TorchFor{});
  });
}

// unpool_maps to contiguous maps.
template <class Options, class Kernel>
std::vector<Tensor> unpool_regions(const Tensor& grad, const Regions& regions, const Options& options,
                                   const std::vector<int64_t>& sizes, const char* op, const Kernel& kernel) {
  const std::vector<Tensor> maps = zero_maps(grad, sizes, compute_type(grad.scalar_type()));
  unpool_maps(grad, regions, options, maps, op, kernel);
  return contiguous_as(maps, grad.scalar_type());
}

}  // namespace d2_ops
