#include "../roi_align_arguments.h"
#include "roi_pooling.h"

namespace d2_ops {
namespace {

Tensor roi_align_cuda(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                      int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned};
  check_roi_align_arguments(input, "input", boxes, 5, options, "roi_align");
  return pool_regions<RoiBin>(input, boxes, options);
}

Tensor roi_align_backward_cuda(const Tensor& grad, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                               int64_t pooled_width, int64_t batch, int64_t channels, int64_t height, int64_t width,
                               int64_t sampling_ratio, bool aligned) {
  const RoiAlignOptions options{spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned};
  check_roi_align_gradient(grad, boxes, 5, options, batch, channels, height, width, "roi_align_backward");
  return unpool_regions<RoiBin>(grad, boxes, {batch, channels, height, width}, options);
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&d2_ops::roi_align_cuda));
  m.impl("roi_align_forward", TORCH_BOX(&d2_ops::roi_align_cuda));
  m.impl("roi_align_backward", TORCH_BOX(&d2_ops::roi_align_backward_cuda));
}
