// RoI pooling on the CPU, forward and backward: the largest pixel of every bin.
//
// The rows of a bin are first combined across the width of the RoI (contiguous, vectorised), then the
// columns of each bin are compared. Of equal pixels the first one in reading order is taken.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "interleaved_planes.h"
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
    std::vector<T> planes;       // some, interleaved
    std::vector<T> largest;      // of each column of a bin's rows
    std::vector<int32_t> where;  // the row that it is in
    void fit_row(int64_t size) {
      largest.resize(std::max<size_t>(largest.size(), size));
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

  // How many pixels of a plane are read, about.
  int64_t visits() const {
    return (rows.back().end - rows.front().first) * (columns.back().end - columns.front().first);
  }
};

namespace roi_pool_detail {

// The largest of the rows [rows.first, rows.end), at least one, for `count` numbers of each. NaN is larger than any.
template <class T>
D2_OPS_INLINE void combine_rows(const T* from, int64_t stride, PixelRange rows, int64_t count, T* largest,
                                int32_t* where) {
  const T* row = from + rows.first * stride;
  for (int64_t i = 0; i < count; ++i) {
    largest[i] = row[i];
    where[i] = static_cast<int32_t>(rows.first);
  }
  for (int64_t y = rows.first + 1; y < rows.end; ++y) {
    row += stride;
    for (int64_t i = 0; i < count; ++i) {
      const bool larger = (row[i] > largest[i]) | (row[i] != row[i]);
      largest[i] = larger ? row[i] : largest[i];
      where[i] = larger ? static_cast<int32_t>(y) : where[i];
    }
  }
}

// kPlanes planes whose pixels lie beside each other; the pooled planes follow each other.
template <int kPlanes, class T>
D2_OPS_INLINE void pool(const T* planes, int64_t width, const RoiPixels<T>& roi, T* largest, int32_t* where, T* out,
                        int32_t* argmax) {
  const int64_t bins = static_cast<int64_t>(roi.rows.size() * roi.columns.size());
  const int64_t begin = roi.columns.front().first, count = (roi.columns.back().end - begin) * kPlanes;
  for (const PixelRange rows : roi.rows) {
    const bool some_rows = rows.first < rows.end;
    if (some_rows) combine_rows(planes + begin * kPlanes, width * kPlanes, rows, count, largest, where);
    for (const PixelRange columns : roi.columns) {
      T value[kPlanes] = {};
      int32_t row[kPlanes] = {}, column[kPlanes];
      std::fill(column, column + kPlanes, -1);  // no pixel
      for (int64_t x = columns.first; some_rows && x < columns.end; ++x) {
        const T* from = largest + (x - begin) * kPlanes;
        const int32_t* from_row = where + (x - begin) * kPlanes;
        for (int k = 0; k < kPlanes; ++k) {
          const bool earlier = (from[k] == value[k]) & (from_row[k] < row[k]);
          const bool larger = (from[k] > value[k]) | (from[k] != from[k]) | earlier | (column[k] < 0);
          value[k] = larger ? from[k] : value[k];
          row[k] = larger ? from_row[k] : row[k];
          column[k] = larger ? static_cast<int32_t>(x) : column[k];
        }
      }
      for (int k = 0; k < kPlanes; ++k) {
        out[k * bins] = value[k];
        argmax[k * bins] = static_cast<int32_t>(row[k] * width + column[k]);
      }
      ++out;
      ++argmax;
    }
  }
}

#define D2_OPS_ROI_POOL_CLONES(T)                                                                            \
  D2_OPS_CLONES static void pool_planes(OnePlane, const T* plane, int64_t width,            \
                                                         const RoiPixels<T>& roi, T* largest, int32_t* where, \
                                                         T* out, int32_t* argmax) {                          \
    pool<1>(plane, width, roi, largest, where, out, argmax);                                                 \
  }                                                                                                          \
  D2_OPS_CLONES static void pool_planes(SeveralPlanes, const T* planes, int64_t width,      \
                                                         const RoiPixels<T>& roi, T* largest, int32_t* where, \
                                                         T* out, int32_t* argmax) {                          \
    pool<kPlanesTogether>(planes, width, roi, largest, where, out, argmax);                                  \
  }
D2_OPS_ROI_POOL_CLONES(float)
D2_OPS_ROI_POOL_CLONES(double)
#undef D2_OPS_ROI_POOL_CLONES

}  // namespace roi_pool_detail

// levels: fewer than 2^31 pixels in a plane; rois: roi_count rows of image, x1, y1, x2, y2, image and
// level within range; out, argmax: (roi_count, channels, pooled_height, pooled_width), argmax being the
// offset of a value in its plane. All contiguous. A bin without pixels gives 0 and -1, a RoI whose
// coordinates are not finite (or absurdly large) NaN and -1.
template <class T, class ParallelFor>
void roi_pool(const FeatureLevels<const T>& levels, const T* rois, int64_t roi_count, const RoiPoolOptions& options,
              T* out, int32_t* argmax, const ParallelFor& parallel_for) {
  const int64_t bins = options.pooled_height * options.pooled_width;
  for_each_task<RoiPixels<T>>(
      levels, rois, roi_count, options, kPlanesTogether, parallel_for,
      [&](const PlanesTask& task, const RoiPixels<T>* first, typename RoiPixels<T>::Buffer* buffer) {
        const RoiPixels<T>* end = first + (task.end_roi - task.first_roi);
        const int64_t width = levels.level[task.level].width;
        buffer->fit_row(kPlanesTogether * width);
        int64_t visits = 0;
        for (const RoiPixels<T>* roi = first; roi != end; ++roi) visits += roi->visits();
        for_planes_of_task(levels, task, visits, &buffer->planes, [&](auto planes, const T* pixels, int64_t channel) {
          for (const RoiPixels<T>* roi = first; roi != end; ++roi) {
            const int64_t to = (roi->index * levels.channels + channel) * bins;
            if (roi->usable) {
              roi_pool_detail::pool_planes(planes, pixels, width, *roi, buffer->largest.data(), buffer->where.data(),
                                           out + to, argmax + to);
            } else {
              std::fill(out + to, out + to + planes * bins, std::numeric_limits<T>::quiet_NaN());
              std::fill(argmax + to, argmax + to + planes * bins, -1);
            }
          }
        });
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
