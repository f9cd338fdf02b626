// RoI pooling on the CPU, forward and backward: the largest pixel of every bin.
//
// The rows of a bin are first combined across the width of the RoI (contiguous, vectorised), then the
// columns of each bin are compared. Of equal pixels the first one in reading order is taken.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "platform.h"
#include "roi_planes.h"
#include "roi_pool_geometry.h"

namespace d2_ops {

// One RoI, ready to be applied to any plane of its image.
template <class T>
struct RoiPixels {
  static constexpr int64_t kRow = kRoiRow, kAtOnce = 512;
  struct Scratch {};
  struct Buffer {
    std::vector<T> largest;      // of each column of a bin's rows
    std::vector<int32_t> where;  // the row that it is in
    void fit(const LevelShape& level) {
      largest.resize(std::max<size_t>(largest.size(), level.width));
      where.resize(largest.size());
    }
  };

  int64_t index;  // row of the RoI in the output
  bool usable;
  std::vector<PixelRange> rows, columns;  // of each bin

  void prepare(const T* roi, int64_t roi_index, const LevelShape& level, const RoiPoolOptions& o, Scratch*) {
    const RoiPoolAxis<T> x(roi[1], roi[3], level.spatial_scale, o.pooled_width);
    const RoiPoolAxis<T> y(roi[2], roi[4], level.spatial_scale, o.pooled_height);
    index = roi_index;
    usable = x.usable && y.usable;
    rows.resize(o.pooled_height);
    columns.resize(o.pooled_width);
    for (int64_t p = 0; p < o.pooled_height; ++p) rows[p] = y.pixels(p, level.height);
    for (int64_t q = 0; q < o.pooled_width; ++q) columns[q] = x.pixels(q, level.width);
  }
};

namespace roi_pool_detail {

// The largest pixel of every column of some rows, at least one. NaN is larger than any.
template <class T>
D2_OPS_INLINE void combine_rows(const T* plane, int64_t width, PixelRange rows, PixelRange columns, T* largest,
                                int32_t* where) {
  const T* row = plane + rows.first * width;
  for (int64_t x = columns.first; x < columns.end; ++x) {
    largest[x] = row[x];
    where[x] = static_cast<int32_t>(rows.first);
  }
  for (int64_t y = rows.first + 1; y < rows.end; ++y) {
    row += width;
    for (int64_t x = columns.first; x < columns.end; ++x) {
      const bool larger = (row[x] > largest[x]) | (row[x] != row[x]);
      largest[x] = larger ? row[x] : largest[x];
      where[x] = larger ? static_cast<int32_t>(y) : where[x];
    }
  }
}

template <class T>
D2_OPS_INLINE void pool(const T* plane, int64_t width, const RoiPixels<T>& roi, T* largest, int32_t* where, T* out,
                        int32_t* argmax) {
  const PixelRange all{roi.columns.front().first, roi.columns.back().end};
  for (const PixelRange rows : roi.rows) {
    if (rows.first < rows.end) combine_rows(plane, width, rows, all, largest, where);
    for (const PixelRange columns : roi.columns) {
      T value = 0;
      int64_t row = 0, column = -1;  // none yet
      if (rows.first < rows.end) {
        for (int64_t x = columns.first; x < columns.end; ++x) {
          const bool earlier = largest[x] == value && where[x] < row;
          if (column >= 0 && !(largest[x] > value || largest[x] != largest[x] || earlier)) continue;
          value = largest[x];
          row = where[x];
          column = x;
        }
      }
      *out++ = value;
      *argmax++ = static_cast<int32_t>(row * width + column);
    }
  }
}

[[maybe_unused]] D2_OPS_CLONES static void pool_plane(const float* plane, int64_t width, const RoiPixels<float>& roi,
                                                      float* largest, int32_t* where, float* out, int32_t* argmax) {
  pool(plane, width, roi, largest, where, out, argmax);
}

[[maybe_unused]] D2_OPS_CLONES static void pool_plane(const double* plane, int64_t width, const RoiPixels<double>& roi,
                                                      double* largest, int32_t* where, double* out, int32_t* argmax) {
  pool(plane, width, roi, largest, where, out, argmax);
}

}  // namespace roi_pool_detail

// levels: fewer than 2^31 pixels in a plane; rois: roi_count rows of image, x1, y1, x2, y2, image and
// level within range; out, argmax: (roi_count, channels, pooled_height, pooled_width), argmax being the
// offset of a value in its plane. All contiguous. A bin without pixels gives 0 and -1, a RoI whose
// coordinates are not finite (or absurdly large) NaN and -1.
template <class T, class ParallelFor>
void roi_pool(const FeatureLevels<const T>& levels, const T* rois, int64_t roi_count, const RoiPoolOptions& options,
              T* out, int32_t* argmax, const ParallelFor& parallel_for) {
  const int64_t bins = options.pooled_height * options.pooled_width;
  for_each_plane<RoiPixels<T>>(
      levels, rois, roi_count, options, parallel_for,
      [&](const RoiPixels<T>& roi, int64_t level, int64_t image, int64_t first, int64_t end, auto* buffer) {
        buffer->fit(levels.level[level]);
        for (int64_t c = first; c < end; ++c) {
          const int64_t to = (roi.index * levels.channels + c) * bins;
          if (roi.usable) {
            roi_pool_detail::pool_plane(levels.plane(level, image, c), levels.level[level].width, roi,
                                        buffer->largest.data(), buffer->where.data(), out + to, argmax + to);
          } else {
            std::fill(out + to, out + to + bins, std::numeric_limits<T>::quiet_NaN());
            std::fill(argmax + to, argmax + to + bins, -1);
          }
        }
      });
}

// Adds grad_out to the pixels of the levels (zeros at first) that it came from. Offsets outside of a plane are left out.
template <class T, class ParallelFor>
void roi_pool_backward(const T* grad_out, const int32_t* argmax, const T* rois, int64_t roi_count,
                       const RoiPoolOptions& options, const FeatureLevels<T>& grad_levels,
                       const ParallelFor& parallel_for) {
  const int64_t bins = options.pooled_height * options.pooled_width;
  for_each_plane<RoiPixels<T>>(
      grad_levels, rois, roi_count, options, parallel_for,
      [&](const RoiPixels<T>& roi, int64_t level, int64_t image, int64_t first, int64_t end, auto*) {
        const int64_t pixels = grad_levels.level[level].height * grad_levels.level[level].width;
        for (int64_t c = first; c < end; ++c) {
          T* plane = grad_levels.plane(level, image, c);
          const int64_t from = (roi.index * grad_levels.channels + c) * bins;
          for (int64_t bin = from; bin < from + bins; ++bin)
            if (argmax[bin] >= 0 && argmax[bin] < pixels) plane[argmax[bin]] += grad_out[bin];
        }
      });
}

}  // namespace d2_ops
