#include "d2_ops/cuda/roi_align_rotated.cuh"

#include "../roi_align_arguments.h"
#include "roi_pooling.h"

namespace d2_ops {
namespace {

Tensor roi_align_rotated_cuda(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                              int64_t pooled_width, int64_t sampling_ratio) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, true};
  check_roi_align_arguments(input, "input", boxes, kRotatedRoiRow, options, "roi_align_rotated");
  return pool_regions<RotatedRoiBin>(input, boxes, options);
}

Tensor roi_align_rotated_backward_cuda(const Tensor& grad, const Tensor& boxes, double spatial_scale,
                                       int64_t pooled_height, int64_t pooled_width, int64_t batch, int64_t channels,
                                       int64_t height, int64_t width, int64_t sampling_ratio) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, true};
  check_roi_align_gradient(grad, boxes, kRotatedRoiRow, options, batch, channels, height, width,
                           "roi_align_rotated_backward");
  return unpool_regions<RotatedRoiBin>(grad, boxes, {batch, channels, height, width}, options);
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("roi_align_rotated", TORCH_BOX(&d2_ops::roi_align_rotated_cuda));
  m.impl("roi_align_rotated_forward", TORCH_BOX(&d2_ops::roi_align_rotated_cuda));
  m.impl("roi_align_rotated_backward", TORCH_BOX(&d2_ops::roi_align_rotated_backward_cuda));
}
