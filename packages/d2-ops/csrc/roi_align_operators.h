// The RoIAlign operators of a device: from their arguments to its kernels.
//
// Kernels has pool(features, regions, options, op) -> Tensor and
// unpool(gradient, regions, options, input sizes, op) -> one tensor per feature map.
#pragma once

#include <vector>

#include "d2_ops/rotated_roi.h"
#include "roi_arguments.h"

namespace d2_ops {

using Maps = std::vector<Tensor>;
using Scales = std::vector<double>;
using Sizes = std::vector<int64_t>;

template <class Kernels>
struct RoiAlignOperators {
  static Tensor pool(const Maps& features, const Regions& regions, const RoiAlignOptions& options, const char* op) {
    check_pooling(features, regions, options.pooled_height, options.pooled_width, op);
    check_sampling_ratio(options.sampling_ratio, op);
    return Kernels::pool(features, regions, options, op);
  }

  static Maps unpool(const Tensor& grad, const Regions& regions, const RoiAlignOptions& options, const Sizes& sizes,
                     const char* op) {
    check_unpooling(grad, regions, options.pooled_height, options.pooled_width, sizes, op);
    check_sampling_ratio(options.sampling_ratio, op);
    return Kernels::unpool(grad, regions, options, sizes, op);
  }
};

template <class Kernels>
struct UprightRoiAlign : RoiAlignOperators<Kernels> {
  using RoiAlignOperators<Kernels>::pool;
  using RoiAlignOperators<Kernels>::unpool;

  static Tensor one(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                    int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
    return pool({input}, {boxes, kRoiRow, {spatial_scale}}, {pooled_height, pooled_width, sampling_ratio, aligned},
                "roi_align");
  }

  static Tensor one_backward(const Tensor& grad, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                             int64_t pooled_width, int64_t sampling_ratio, bool aligned, Sizes input_sizes) {
    return unpool(grad, {boxes, kRoiRow, {spatial_scale}}, {pooled_height, pooled_width, sampling_ratio, aligned},
                  input_sizes, "roi_align_backward")[0];
  }

  static Tensor many(Maps features, const Tensor& boxes, const Tensor& levels, Scales spatial_scales,
                     int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
    return pool(features, {boxes, kRoiRow, spatial_scales, &levels},
                {pooled_height, pooled_width, sampling_ratio, aligned}, "multilevel_roi_align");
  }

  static Maps many_backward(const Tensor& grad, const Tensor& boxes, const Tensor& levels, Scales spatial_scales,
                            int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned,
                            Sizes input_sizes) {
    return unpool(grad, {boxes, kRoiRow, spatial_scales, &levels},
                  {pooled_height, pooled_width, sampling_ratio, aligned}, input_sizes, "multilevel_roi_align_backward");
  }

  template <class Library>
  static void add_to(Library& m) {
    m.impl("roi_align", D2_OPS_BOX(&UprightRoiAlign::one));
    m.impl("roi_align_forward", D2_OPS_BOX(&UprightRoiAlign::one));
    m.impl("roi_align_backward", D2_OPS_BOX(&UprightRoiAlign::one_backward));
    m.impl("multilevel_roi_align", D2_OPS_BOX(&UprightRoiAlign::many));
    m.impl("multilevel_roi_align_forward", D2_OPS_BOX(&UprightRoiAlign::many));
    m.impl("multilevel_roi_align_backward", D2_OPS_BOX(&UprightRoiAlign::many_backward));
  }
};

template <class Kernels>
struct RotatedRoiAlign : RoiAlignOperators<Kernels> {
  using RoiAlignOperators<Kernels>::pool;
  using RoiAlignOperators<Kernels>::unpool;

  static Tensor one(const Tensor& input, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                    int64_t pooled_width, int64_t sampling_ratio) {
    return pool({input}, {boxes, kRotatedRoiRow, {spatial_scale}}, {pooled_height, pooled_width, sampling_ratio, true},
                "roi_align_rotated");
  }

  static Tensor one_backward(const Tensor& grad, const Tensor& boxes, double spatial_scale, int64_t pooled_height,
                             int64_t pooled_width, int64_t sampling_ratio, Sizes input_sizes) {
    return unpool(grad, {boxes, kRotatedRoiRow, {spatial_scale}}, {pooled_height, pooled_width, sampling_ratio, true},
                  input_sizes, "roi_align_rotated_backward")[0];
  }

  static Tensor many(Maps features, const Tensor& boxes, const Tensor& levels, Scales spatial_scales,
                     int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio) {
    return pool(features, {boxes, kRotatedRoiRow, spatial_scales, &levels},
                {pooled_height, pooled_width, sampling_ratio, true}, "multilevel_roi_align_rotated");
  }

  static Maps many_backward(const Tensor& grad, const Tensor& boxes, const Tensor& levels, Scales spatial_scales,
                            int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, Sizes input_sizes) {
    return unpool(grad, {boxes, kRotatedRoiRow, spatial_scales, &levels},
                  {pooled_height, pooled_width, sampling_ratio, true}, input_sizes,
                  "multilevel_roi_align_rotated_backward");
  }

  template <class Library>
  static void add_to(Library& m) {
    m.impl("roi_align_rotated", D2_OPS_BOX(&RotatedRoiAlign::one));
    m.impl("roi_align_rotated_forward", D2_OPS_BOX(&RotatedRoiAlign::one));
    m.impl("roi_align_rotated_backward", D2_OPS_BOX(&RotatedRoiAlign::one_backward));
    m.impl("multilevel_roi_align_rotated", D2_OPS_BOX(&RotatedRoiAlign::many));
    m.impl("multilevel_roi_align_rotated_forward", D2_OPS_BOX(&RotatedRoiAlign::many));
    m.impl("multilevel_roi_align_rotated_backward", D2_OPS_BOX(&RotatedRoiAlign::many_backward));
  }
};

}  // namespace d2_ops
