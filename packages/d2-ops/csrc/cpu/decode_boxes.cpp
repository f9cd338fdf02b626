#include "d2_ops/decode_boxes.h"

#include <tuple>
#include <vector>

#include "../decode_boxes_arguments.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

template <class Coding>
Tensor decode(const Tensor& deltas, const Tensor& boxes, const std::vector<double>& weights, double scale_clamp,
              const char* op) {
  check_decode_arguments<Coding>(deltas, boxes, weights, scale_clamp, op);
  const ScalarType type = compute_type(deltas.scalar_type());
  const Tensor offsets = contiguous_as(deltas, type), references = contiguous_as(boxes, type);
  const Tensor out = torch::stable::new_empty(offsets, offsets.sizes());
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    decode_boxes(Coding{}, data<T>(offsets), data<T>(references), boxes.size(0), deltas.size(1) / Coding::kRow,
                 coding_options<T>(weights, scale_clamp), mutable_data<T>(out), TorchFor{});
  });
  return out;
}

template <class Coding>
std::tuple<Tensor, Tensor> decode_and_clip(const Tensor& deltas, const Tensor& boxes,
                                           const std::vector<double>& weights, double scale_clamp, int64_t height,
                                           int64_t width, double min_size, double most_angle, const char* op) {
  check_decode_arguments<Coding>(deltas, boxes, weights, scale_clamp, op);
  check_image_bounds(height, width, min_size, most_angle, op);
  const ScalarType type = compute_type(deltas.scalar_type());
  const Tensor offsets = contiguous_as(deltas, type), references = contiguous_as(boxes, type);
  const int64_t count = boxes.size(0), per_box = deltas.size(1) / Coding::kRow;
  const Tensor out = torch::stable::new_empty(offsets, offsets.sizes());
  const Tensor keep = torch::stable::new_empty(offsets, {count, per_box}, ScalarType::Bool);
  dispatch_compute(type, [&](auto zero) {
    using T = decltype(zero);
    decode_and_clip_boxes(Coding{}, data<T>(offsets), data<T>(references), count, per_box,
                          coding_options<T>(weights, scale_clamp),
                          image_bounds<T>(height, width, min_size, most_angle), mutable_data<T>(out),
                          mutable_data<bool>(keep), TorchFor{});
  });
  return {out, keep};
}

Tensor decode_boxes_cpu(const Tensor& deltas, const Tensor& boxes, std::vector<double> weights, double scale_clamp) {
  return decode<UprightCoding>(deltas, boxes, weights, scale_clamp, "decode_boxes");
}

Tensor decode_rotated_boxes_cpu(const Tensor& deltas, const Tensor& boxes, std::vector<double> weights,
                                double scale_clamp) {
  return decode<RotatedCoding>(deltas, boxes, weights, scale_clamp, "decode_rotated_boxes");
}

std::tuple<Tensor, Tensor> decode_and_clip_boxes_cpu(const Tensor& deltas, const Tensor& boxes,
                                                     std::vector<double> weights, double scale_clamp, int64_t height,
                                                     int64_t width, double min_size) {
  return decode_and_clip<UprightCoding>(deltas, boxes, weights, scale_clamp, height, width, min_size, 0,
                                        "decode_and_clip_boxes");
}

std::tuple<Tensor, Tensor> decode_and_clip_rotated_boxes_cpu(const Tensor& deltas, const Tensor& boxes,
                                                             std::vector<double> weights, double scale_clamp,
                                                             int64_t height, int64_t width, double min_size,
                                                             double clip_angle_threshold) {
  return decode_and_clip<RotatedCoding>(deltas, boxes, weights, scale_clamp, height, width, min_size,
                                        clip_angle_threshold, "decode_and_clip_rotated_boxes");
}

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) {
  m.impl("decode_boxes", D2_OPS_BOX(&d2_ops::decode_boxes_cpu));
  m.impl("decode_rotated_boxes", D2_OPS_BOX(&d2_ops::decode_rotated_boxes_cpu));
  m.impl("decode_and_clip_boxes", D2_OPS_BOX(&d2_ops::decode_and_clip_boxes_cpu));
  m.impl("decode_and_clip_rotated_boxes", D2_OPS_BOX(&d2_ops::decode_and_clip_rotated_boxes_cpu));
}
