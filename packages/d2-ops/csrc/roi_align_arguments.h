// What roi_align, roi_align_rotated and their backward ask of their arguments.
#pragma once

#include "d2_ops/roi_geometry.h"
#include "tensor_arguments.h"

namespace d2_ops {

constexpr int64_t kLongestAxis = int64_t(1) << 31;  // pixels are numbered in 32 bits

inline void check_roi_align_arguments(const Tensor& features, const char* features_name, const Tensor& boxes,
                                      int64_t columns, const RoiAlignOptions& options, const char* op) {
  require(features.dim() == 4, op, ": ", features_name, " must have 4 dimensions, got ", features.dim());
  require_floating(features, op, features_name);
  require(features.size(2) < kLongestAxis && features.size(3) < kLongestAxis, op, ": ", features_name,
          " is 2^31 pixels long or more");
  require_matrix(boxes, columns, op, "boxes");
  require_floating(boxes, op, "boxes");
  require(boxes.get_device_index() == features.get_device_index(), op, ": boxes must be on the device of ",
          features_name);
  require(options.pooled_height > 0 && options.pooled_width > 0, op, ": output_size must be positive, got ",
          options.pooled_height, " x ", options.pooled_width);
}

// The gradient has one entry per RoI and the input's sizes are sizes.
inline void check_roi_align_gradient(const Tensor& grad, const Tensor& boxes, int64_t columns,
                                     const RoiAlignOptions& options, int64_t batch, int64_t channels, int64_t height,
                                     int64_t width, const char* op) {
  check_roi_align_arguments(grad, "grad", boxes, columns, options, op);
  require(grad.size(0) == boxes.size(0) && grad.size(1) == channels && grad.size(2) == options.pooled_height &&
              grad.size(3) == options.pooled_width,
          op, ": grad does not have the shape of the output");
  require(batch >= 0 && channels >= 0 && height >= 0 && width >= 0, op, ": negative input size");
}

// Pixels of a plane are numbered in 32 bits.
inline void require_small_planes(int64_t height, int64_t width, const char* op) {
  require(height == 0 || width < kLongestAxis / height, op, ": a plane has 2^31 pixels or more");
}

// CPU only: on a device, checking would stall the host.
template <class T>
void require_images(const T* rois, int64_t columns, int64_t count, int64_t batch, const char* op) {
  for (int64_t k = 0; k < count; ++k)
    require(rois[columns * k] >= 0 && rois[columns * k] < static_cast<T>(batch), op, ": boxes[", k, ", 0] is ",
            rois[columns * k], ", not the index of one of ", batch, " images");
}

}  // namespace d2_ops
