#include "d2_ops/cuda/pairwise_boxes.cuh"

#include "../pairwise_boxes_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

constexpr int64_t kRowsPerThread = 4;
constexpr int64_t kMostBlocksY = 65535;

template <class Measure>
Tensor pairwise(const Tensor& boxes1, const Tensor& boxes2, const char* op) {
  check_pairwise_arguments(boxes1, boxes2, op);
  const torch::stable::accelerator::DeviceGuard guard(boxes1.get_device_index());
  const int64_t n = boxes1.size(0), m = boxes2.size(0);
  const Tensor out = torch::stable::new_empty(boxes1, {n, m});
  if (n == 0 || m == 0) return out;
  const ScalarType type = compute_type(boxes1.scalar_type());
  const Tensor rows = contiguous_as(boxes1, type), columns = contiguous_as(boxes2, type);
  const int64_t bands = (n + kRowsPerThread - 1) / kRowsPerThread;
  const dim3 grid(blocks_for(m), static_cast<unsigned>(bands < kMostBlocksY ? bands : kMostBlocksY));
  dispatch_floating(out.scalar_type(), [&](auto storage_zero, auto zero) {
    using S = decltype(storage_zero);
    using T = decltype(zero);
    pairwise_boxes<Measure><<<grid, kThreads, 0, current_stream(boxes1)>>>(data<T>(rows), n, data<T>(columns), m,
                                                                           mutable_data<S>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

Tensor pairwise_iou_cuda(const Tensor& boxes1, const Tensor& boxes2) {
  return pairwise<Iou>(boxes1, boxes2, "pairwise_iou");
}

Tensor pairwise_ioa_cuda(const Tensor& boxes1, const Tensor& boxes2) {
  return pairwise<Ioa>(boxes1, boxes2, "pairwise_ioa");
}

Tensor pairwise_giou_cuda(const Tensor& boxes1, const Tensor& boxes2) {
  return pairwise<Giou>(boxes1, boxes2, "pairwise_giou");
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("pairwise_iou", D2_OPS_BOX(&d2_ops::pairwise_iou_cuda));
  m.impl("pairwise_ioa", D2_OPS_BOX(&d2_ops::pairwise_ioa_cuda));
  m.impl("pairwise_giou", D2_OPS_BOX(&d2_ops::pairwise_giou_cuda));
}
