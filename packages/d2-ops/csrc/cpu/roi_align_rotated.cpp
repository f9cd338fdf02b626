#include "d2_ops/roi_align_rotated.h"

#include "../roi_align_operators.h"
#include "roi_pooling.h"

namespace d2_ops {
namespace {

struct Kernels {
  static Tensor pool(const Maps& features, const Regions& regions, const RoiAlignOptions& options, const char* op) {
    return pool_regions(features, regions, options, op, [](const auto&... all) { roi_align_rotated(all...); });
  }

  static Maps unpool(const Tensor& grad, const Regions& regions, const RoiAlignOptions& options, const Sizes& sizes,
                     const char* op) {
    return unpool_regions(grad, regions, options, sizes, op,
                          [](const auto&... all) { roi_align_rotated_backward(all...); });
  }
};

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) { d2_ops::RotatedRoiAlign<d2_ops::Kernels>::add_to(m); }
