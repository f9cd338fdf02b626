#include "d2_ops/pairwise_boxes.h"

#include "../pairwise_boxes_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

template <class Measure>
Tensor pairwise(const Tensor& boxes1, const Tensor& boxes2, const char* op) {
  check_pairwise_arguments(boxes1, boxes2, op);
  const ScalarType type = compute_type(boxes1.scalar_type());
  const Tensor rows = contiguous_as(boxes1, type), columns = contiguous_as(boxes2, type);
  const int64_t n = rows.size(0), m = columns.size(0);
  const Tensor out = empty_result(rows, {n, m}, rows.scalar_type());
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    pairwise_boxes(Measure{}, data<T>(rows), n, data<T>(columns), m, mutable_data<T>(out), TorchFor{});
  });
  return contiguous_as(out, boxes1.scalar_type());
}

Tensor pairwise_iou_cpu(const Tensor& boxes1, const Tensor& boxes2) {
  return pairwise<Iou>(boxes1, boxes2, "pairwise_iou");
}

Tensor pairwise_ioa_cpu(const Tensor& boxes1, const Tensor& boxes2) {
  return pairwise<Ioa>(boxes1, boxes2, "pairwise_ioa");
}

Tensor pairwise_giou_cpu(const Tensor& boxes1, const Tensor& boxes2) {
  return pairwise<Giou>(boxes1, boxes2, "pairwise_giou");
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("pairwise_iou", D2_OPS_BOX(&d2_ops::pairwise_iou_cpu));
  m.impl("pairwise_ioa", D2_OPS_BOX(&d2_ops::pairwise_ioa_cpu));
  m.impl("pairwise_giou", D2_OPS_BOX(&d2_ops::pairwise_giou_cpu));
}
