#include "d2_ops/roi_pool.h"

#include <tuple>

#include "../roi_pool_arguments.h"
#include "roi_pooling.h"

namespace d2_ops {
namespace {

std::tuple<Tensor, Tensor> roi_pool_cpu(const Tensor& input, const Tensor& boxes, double spatial_scale,
                                        int64_t pooled_height, int64_t pooled_width) {
  const Regions regions{boxes, kRoiRow, {spatial_scale}};
  check_pooling({input}, regions, pooled_height, pooled_width, "roi_pool");
  const Tensor argmax =
      empty_result(input, {boxes.size(0), input.size(1), pooled_height, pooled_width}, ScalarType::Int);
  const Tensor out = pool_regions(
      {input}, regions, RoiPoolOptions{pooled_height, pooled_width}, "roi_pool",
      [&](const auto& levels, const auto* rois, int64_t count, const auto& options, auto* pooled, auto parallel_for) {
        roi_pool(levels, rois, count, options, pooled, mutable_data<int32_t>(argmax), parallel_for);
      });
  return {out, argmax};
}

Tensor roi_pool_backward_cpu(const Tensor& grad, const Tensor& argmax, const Tensor& boxes,
                             std::vector<int64_t> input_sizes) {
  check_argmax(argmax, grad);
  const char* op = "roi_pool_backward";
  const RoiPoolOptions options{grad.size(2), grad.size(3)};
  const Regions regions{boxes, kRoiRow, {1.0}};
  check_unpooling(grad, regions, options.pooled_height, options.pooled_width, input_sizes, op);
  const Tensor offsets = contiguous_as(argmax, ScalarType::Int);
  return unpool_regions(
      grad, regions, options, input_sizes, op,
      [&](const auto* grad_out, const auto* rois, int64_t count, const auto& o, const auto& levels, auto parallel_for) {
        roi_pool_backward(grad_out, data<int32_t>(offsets), rois, count, o, levels, parallel_for);
      })[0];
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("roi_pool", D2_OPS_BOX(&d2_ops::roi_pool_cpu));
  m.impl("roi_pool_backward", D2_OPS_BOX(&d2_ops::roi_pool_backward_cpu));
}
