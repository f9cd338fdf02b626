#include "../box_iou_rotated_arguments.h"
#include "rotated_boxes.h"

namespace d2_ops {
namespace {

Tensor box_iou_rotated_cuda(const Tensor& boxes1, const Tensor& boxes2) {
  check_box_iou_rotated_arguments(boxes1, boxes2);
  const torch::stable::accelerator::DeviceGuard guard(boxes1.get_device_index());
  const int64_t rows = boxes1.size(0), columns = boxes2.size(0), items = rows * columns;
  const Tensor out = torch::stable::new_empty(boxes1, {rows, columns});
  if (items == 0) return out;
  const Tensor prepared1 = rotated_boxes(boxes1), prepared2 = rotated_boxes(boxes2);
  dispatch_floating(out.scalar_type(), [&](auto storage_zero, auto) {
    using S = decltype(storage_zero);
    box_iou_rotated<<<blocks_for(items), kThreads, 0, current_stream(boxes1)>>>(
        data<RotatedBox>(prepared1), data<RotatedBox>(prepared2), items, columns, mutable_data<S>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) { m.impl("box_iou_rotated", D2_OPS_BOX(&d2_ops::box_iou_rotated_cuda)); }
