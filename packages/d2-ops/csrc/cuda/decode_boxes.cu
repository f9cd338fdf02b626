#include "d2_ops/cuda/decode_boxes.cuh"

#include <tuple>
#include <vector>

#include "../decode_boxes_arguments.h"
#include "device.h"

namespace d2_ops {
namespace {

template <class Coding>
Tensor decode(const Tensor& deltas, const Tensor& boxes, const std::vector<double>& weights, double scale_clamp,
              const char* op) {
  check_decode_arguments<Coding>(deltas, boxes, weights, scale_clamp, op);
  const torch::stable::accelerator::DeviceGuard guard(deltas.get_device_index());
  const ScalarType type = compute_type(deltas.scalar_type());
  const Tensor offsets = contiguous_as(deltas, type), references = contiguous_as(boxes, type);
  const Tensor out = torch::stable::new_empty(offsets, offsets.sizes());
  const int64_t per_box = deltas.size(1) / Coding::kRow, count = boxes.size(0) * per_box;
  if (count == 0) return out;
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    decode_boxes<Coding><<<blocks_for(count), kThreads, 0, current_stream(deltas)>>>(
        data<T>(offsets), data<T>(references), count, per_box, coding_options<T>(weights, scale_clamp),
        mutable_data<T>(out));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

template <class Coding>
std::tuple<Tensor, Tensor> decode_and_clip(const Tensor& deltas, const Tensor& boxes,
                                           const std::vector<double>& weights, double scale_clamp, int64_t height,
                                           int64_t width, double min_size, double most_angle, const char* op) {
  check_image_bounds(height, width, min_size, most_angle, op);
  const Tensor out = decode<Coding>(deltas, boxes, weights, scale_clamp, op);
  const torch::stable::accelerator::DeviceGuard guard(deltas.get_device_index());
  const int64_t per_box = deltas.size(1) / Coding::kRow, count = boxes.size(0) * per_box;
  const Tensor keep = torch::stable::new_empty(out, {boxes.size(0), per_box}, ScalarType::Bool);
  if (count == 0) return {out, keep};
  dispatch_compute(out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    clip_boxes<Coding><<<blocks_for(count), kThreads, 0, current_stream(deltas)>>>(
        count, image_bounds<T>(height, width, min_size, most_angle), mutable_data<T>(out), mutable_data<bool>(keep));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {out, keep};
}

Tensor decode_boxes_cuda(const Tensor& deltas, const Tensor& boxes, std::vector<double> weights, double scale_clamp) {
  return decode<UprightCoding>(deltas, boxes, weights, scale_clamp, "decode_boxes");
}

Tensor decode_rotated_boxes_cuda(const Tensor& deltas, const Tensor& boxes, std::vector<double> weights,
                                double scale_clamp) {
  return decode<RotatedCoding>(deltas, boxes, weights, scale_clamp, "decode_rotated_boxes");
}

std::tuple<Tensor, Tensor> decode_and_clip_boxes_cuda(const Tensor& deltas, const Tensor& boxes,
                                                     std::vector<double> weights, double scale_clamp, int64_t height,
                                                     int64_t width, double min_size) {
  return decode_and_clip<UprightCoding>(deltas, boxes, weights, scale_clamp, height, width, min_size, 0,
                                        "decode_and_clip_boxes");
}

std::tuple<Tensor, Tensor> decode_and_clip_rotated_boxes_cuda(const Tensor& deltas, const Tensor& boxes,
                                                             std::vector<double> weights, double scale_clamp,
                                                             int64_t height, int64_t width, double min_size,
                                                             double clip_angle_threshold) {
  return decode_and_clip<RotatedCoding>(deltas, boxes, weights, scale_clamp, height, width, min_size,
                                        clip_angle_threshold, "decode_and_clip_rotated_boxes");
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) {
  m.impl("decode_boxes", D2_OPS_BOX(&d2_ops::decode_boxes_cuda));
  m.impl("decode_rotated_boxes", D2_OPS_BOX(&d2_ops::decode_rotated_boxes_cuda));
  m.impl("decode_and_clip_boxes", D2_OPS_BOX(&d2_ops::decode_and_clip_boxes_cuda));
  m.impl("decode_and_clip_rotated_boxes", D2_OPS_BOX(&d2_ops::decode_and_clip_rotated_boxes_cuda));
}
