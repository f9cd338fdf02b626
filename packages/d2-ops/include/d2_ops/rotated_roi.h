// Where rotated RoIAlign samples: shared by the CPU and CUDA kernels.
#pragma once

#include <cstdint>

#include "feature_levels.h"
#include "roi_geometry.h"
#include "rotated_box.h"

namespace d2_ops {

constexpr int kRotatedRoiRow = 1 + kRotatedBoxRow;  // image, then a rotated box

// A rotated RoI in pixels of the feature map. Its axes are those of the box, around its centre.
template <class T>
struct RotatedRoi {
  RoiAxis<T> x, y;
  T center_x, center_y, cosine, sine;
  double map_x_low, map_x_high, map_y_low, map_y_high;  // between these the axes can meet the map
  bool usable;

  D2_OPS_HOST_DEVICE RotatedRoi(const T* row, const LevelShape& level, const RoiAlignOptions& o) {
    const T scale = static_cast<T>(level.spatial_scale);
    const T box_width = row[3] * scale, box_height = row[4] * scale;
    center_x = row[1] * scale - T(0.5);
    center_y = row[2] * scale - T(0.5);
    x = roi_axis(-box_width / 2, box_width, o.pooled_width, o.sampling_ratio);
    y = roi_axis(-box_height / 2, box_height, o.pooled_height, o.sampling_ratio);
    double s, c;
    sine_cosine(static_cast<double>(row[5]), &s, &c);
    sine = static_cast<T>(s);
    cosine = static_cast<T>(c);
    constexpr T kFarthest = T(1 << 30);
    // Written so that NaN fails it.
    usable = x.usable && y.usable && fabs(center_x) <= kFarthest && fabs(center_y) <= kFarthest && s * s <= 2;

    // The map with a margin of a pixel, [-1, width] x [-1, height], seen along the axes of the box.
    const double half_width = 0.5 * static_cast<double>(level.width + 1);
    const double half_height = 0.5 * static_cast<double>(level.height + 1);
    const double dx = half_width - 1 - static_cast<double>(center_x);
    const double dy = half_height - 1 - static_cast<double>(center_y);
    const double middle_x = c * dx - s * dy, middle_y = s * dx + c * dy;
    const double reach_x = fabs(c) * half_width + fabs(s) * half_height;
    const double reach_y = fabs(s) * half_width + fabs(c) * half_height;
    map_x_low = middle_x - reach_x;
    map_x_high = middle_x + reach_x;
    map_y_low = middle_y - reach_y;
    map_y_high = middle_y + reach_y;
  }

  // Samples per bin, at least 1 to divide by.
  D2_OPS_HOST_DEVICE T samples() const {
    const int64_t count = x.grid * y.grid;
    return static_cast<T>(count > 1 ? count : 1);
  }
};

// Calls visit(offset in the plane, weight) for the four pixels of every sample of bin (p, q).
template <class T, class Visit>
D2_OPS_HOST_DEVICE void for_each_rotated_pixel(const RotatedRoi<T>& roi, int64_t p, int64_t q, int64_t height,
                                               int64_t width, const Visit& visit) {
  int64_t i_first, i_last, j_first, j_last;
  samples_between(roi.y, p, roi.map_y_low, roi.map_y_high, &i_first, &i_last);
  samples_between(roi.x, q, roi.map_x_low, roi.map_x_high, &j_first, &j_last);
  for (int64_t i = i_first; i < i_last; ++i) {
    const T along_y = roi.y.sample(p, i);
    for (int64_t j = j_first; j < j_last; ++j) {
      const T along_x = roi.x.sample(q, j);
      LinearSample<T> x, y;
      if (!linear_sample(along_y * roi.cosine - along_x * roi.sine + roi.center_y, height, &y)) continue;
      if (!linear_sample(along_y * roi.sine + along_x * roi.cosine + roi.center_x, width, &x)) continue;
      visit(y.low * width + x.low, y.low_weight * x.low_weight);
      visit(y.low * width + x.high, y.low_weight * x.high_weight);
      visit(y.high * width + x.low, y.high_weight * x.low_weight);
      visit(y.high * width + x.high, y.high_weight * x.high_weight);
    }
  }
}

}  // namespace d2_ops
