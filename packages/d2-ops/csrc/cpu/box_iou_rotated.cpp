#include "d2_ops/box_iou_rotated.h"

#include "../box_iou_rotated_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

Tensor box_iou_rotated_cpu(const Tensor& boxes1, const Tensor& boxes2) {
  check_box_iou_rotated_arguments(boxes1, boxes2);
  const Tensor rows = contiguous_as(boxes1, ScalarType::Double), columns = contiguous_as(boxes2, ScalarType::Double);
  const ScalarType type = compute_type(boxes1.scalar_type());
  const Tensor out = empty_result(boxes1, {rows.size(0), columns.size(0)}, type);
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    box_iou_rotated(data<double>(rows), rows.size(0), data<double>(columns), columns.size(0), mutable_data<T>(out),
                    TorchFor{});
  });
  return contiguous_as(out, boxes1.scalar_type());
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) { m.impl("box_iou_rotated", D2_OPS_BOX(&d2_ops::box_iou_rotated_cpu)); }
