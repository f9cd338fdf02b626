#include "../deform_conv2d.h"

#include "d2_ops/deform_columns.h"
#include "parallel_for.h"

namespace d2_ops {
namespace {

struct CpuColumns {
  struct DeviceGuard {
    explicit DeviceGuard(int32_t /*index*/) {}
  };
  static constexpr int64_t kBlockBytes = int64_t(32) << 20;

  static ScalarType storage_type(ScalarType type) { return compute_type(type); }

  static void sample(const DeformGeometry& g, const DeformImage& image, int64_t first, int64_t end,
                     const Tensor& columns) {
    dispatch_compute(columns.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      deform_columns(g, data<T>(image.pixels), data<T>(image.offset), data_or_null<T>(image.mask), first, end,
                     mutable_data<T>(columns), TorchFor{});
    });
  }

  static void backward(const DeformGeometry& g, const DeformImage& image, int64_t first, int64_t end,
                       const Tensor& grad_columns, const DeformImage& gradient) {
    dispatch_compute(grad_columns.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      deform_columns_backward(g, data<T>(image.pixels), data<T>(image.offset), data_or_null<T>(image.mask),
                              data<T>(grad_columns), first, end, mutable_data<T>(gradient.pixels),
                              mutable_data<T>(gradient.offset),
                              gradient.mask ? mutable_data<T>(*gradient.mask) : nullptr, TorchFor{});
    });
  }
};

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CPU, m) { d2_ops::register_deform_conv2d<d2_ops::CpuColumns>(m); }
