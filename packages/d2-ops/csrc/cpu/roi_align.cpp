#include "d2_ops/roi_align.h"

#include "d2_ops/roi_align_channels_last.h"

#include <algorithm>

#include "../roi_align_operators.h"
#include "roi_pooling.h"

namespace d2_ops {
namespace {

// Dense, the channels of a pixel beside each other, and not contiguous as well.
bool has_channels_last(const Tensor& map) {
  const int64_t channels = map.size(1), row = channels * map.size(3);
  const auto strides = map.strides();
  return !map.is_contiguous() && strides[1] == 1 && strides[3] == channels && strides[2] == row &&
         strides[0] == row * map.size(2);
}

// In this type, with the strides that they have.
Maps of_type(const Maps& maps, ScalarType type) {
  Maps converted;
  for (const Tensor& map : maps)
    converted.push_back(map.scalar_type() == type ? map : torch::stable::to(map, type));
  return converted;
}

struct Kernels {
  static Tensor pool(const Maps& features, const Regions& regions, const RoiAlignOptions& options, const char* op) {
    if (std::all_of(features.begin(), features.end(), has_channels_last)) {
      const ScalarType type = features[0].scalar_type();
      const Tensor pooled = pool_maps(of_type(features, compute_type(type)), regions, options, op,
                                      [](const auto&... all) { roi_align_channels_last(all...); });
      return contiguous_as(pooled, type);
    }
    return pool_regions(features, regions, options, op, [](const auto&... all) { roi_align(all...); });
  }

  static Maps unpool(const Tensor& grad, const Regions& regions, const RoiAlignOptions& options, const Sizes& sizes,
                     const char* op) {
    return unpool_regions(grad, regions, options, sizes, op,
                          [](const auto&... all) { roi_align_backward(all...); });
  }
};

// As multilevel_roi_align_backward, for gradients of maps whose channels lie beside each other.
Maps channels_last_backward(const Tensor& grad, const Tensor& boxes, const Tensor& levels, Scales spatial_scales,
                            int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned,
                            Sizes input_sizes) {
  const char* op = "multilevel_roi_align_backward_channels_last";
  const Regions regions{boxes, kRoiRow, spatial_scales, &levels};
  check_unpooling(grad, regions, pooled_height, pooled_width, input_sizes, op);
  check_sampling_ratio(sampling_ratio, op);
  Maps maps;
  for (size_t i = 2; i < input_sizes.size(); i += 2) {
    const std::vector<int64_t> shape{input_sizes[0], input_sizes[i], input_sizes[i + 1], input_sizes[1]};
    const Tensor zeros = torch::stable::new_zeros(grad, shape, compute_type(grad.scalar_type()));
    maps.push_back(torch::stable::transpose(torch::stable::transpose(zeros, 1, 3), 2, 3));
  }
  unpool_maps(grad, regions, RoiAlignOptions{pooled_height, pooled_width, sampling_ratio, aligned}, maps, op,
              [](const auto&... all) { roi_align_channels_last_backward(all...); });
  return of_type(maps, grad.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  d2_ops::UprightRoiAlign<d2_ops::Kernels>::add_to(m);
  m.impl("multilevel_roi_align_backward_channels_last", D2_OPS_BOX(&d2_ops::channels_last_backward));
}
