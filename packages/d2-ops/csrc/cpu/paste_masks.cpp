#include "d2_ops/paste_masks.h"

#include "../paste_masks_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Tensor paste_masks_cpu(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold) {
  check_paste_masks_arguments(masks, boxes, height, width, threshold);
  const ScalarType type = compute_type(masks.scalar_type());
  const Tensor soft = contiguous_as(masks, type), corners = contiguous_as(boxes, type);
  const Tensor out = empty_result(soft, {soft.size(0), height, width}, pasted_type(threshold));
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    paste_masks(data<T>(soft), data<T>(corners), soft.size(0), soft.size(1), soft.size(2), height, width, threshold,
                mutable_data<uint8_t>(out), TorchFor{});
  });
  return out;
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) { m.impl("paste_masks_in_image", D2_OPS_BOX(&d2_ops::paste_masks_cpu)); }
