#include "d2_ops/cuda/deform_columns.cuh"

#include "../deform_conv2d.h"
#include "device.h"

namespace d2_ops {
namespace {

struct CudaColumns {
  using DeviceGuard = torch::stable::accelerator::DeviceGuard;
  static constexpr int64_t kBlockBytes = int64_t(256) << 20;

  static ScalarType storage_type(ScalarType type) { return type; }

  static void sample(const DeformGeometry& g, const DeformImage& image, int64_t first, int64_t end,
                     const Tensor& columns) {
    dispatch_floating(columns.scalar_type(), [&](auto storage_zero, auto zero) {
      using S = decltype(storage_zero);
      using T = decltype(zero);
      deform_columns_kernel<S, T><<<blocks(g, end - first), kThreads, 0, current_stream(columns)>>>(
          g, data<S>(image.pixels), data<T>(image.offset), data_or_null<T>(image.mask), first, end - first,
          mutable_data<S>(columns));
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  static void backward(const DeformGeometry& g, const DeformImage& image, int64_t first, int64_t end,
                       const Tensor& grad_columns, const DeformImage& gradient) {
    dispatch_floating(grad_columns.scalar_type(), [&](auto storage_zero, auto zero) {
      using S = decltype(storage_zero);
      using T = decltype(zero);
      deform_columns_backward_kernel<S, T><<<blocks(g, end - first), kThreads, 0, current_stream(grad_columns)>>>(
          g, data<S>(image.pixels), data<T>(image.offset), data_or_null<T>(image.mask), data<S>(grad_columns), first,
          end - first, mutable_data<T>(gradient.pixels), mutable_data<T>(gradient.offset),
          gradient.mask ? mutable_data<T>(*gradient.mask) : nullptr);
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

 private:
  static unsigned blocks(const DeformGeometry& g, int64_t pixels) {
    return blocks_for(pixels * g.kernel_taps() * g.deformable_groups * kWarp);
  }
};

}  // namespace
}  // namespace d2_ops

D2_OPS_LIBRARY_IMPL(CUDA, m) { d2_ops::register_deform_conv2d<d2_ops::CudaColumns>(m); }
