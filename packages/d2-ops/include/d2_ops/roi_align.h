// RoIAlign on the CPU, forward and backward.
//
// The bilinear weights of a bin's samples factor into rows and columns, so each axis of a RoI is
// first summed into taps (pixel, weight) per bin. Pooling a plane is then two short matrix
// products: rows are combined across the RoI's width (contiguous, vectorised), and the combined
// row is read once per column tap.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "interleaved_planes.h"
#include "platform.h"
#include "roi_geometry.h"
#include "roi_planes.h"

namespace d2_ops {

// The taps of the bins of one axis: bin b owns taps [ends[b], ends[b + 1]).
template <class T>
struct AxisTaps {
  std::vector<Tap<T>> taps;
  std::vector<int32_t> ends;

  const Tap<T>* begin(int64_t b) const { return taps.data() + ends[b]; }
  const Tap<T>* end(int64_t b) const { return taps.data() + ends[b + 1]; }
};

// What a sample counts in the average of its bin.
template <class T>
T sample_share(const RoiAxis<T>& axis) {
  return T(1) / static_cast<T>(std::max<int64_t>(axis.grid, 1));
}

// Every sample counts `share`.
template <class T>
void fill_taps(const RoiAxis<T>& axis, int64_t bins, int64_t extent, T share, AxisTaps<T>* out) {
  out->taps.clear();
  out->ends.assign(1, 0);
  for (int64_t b = 0; b < bins; ++b) {
    const size_t first_tap = out->taps.size();
    // Neighbouring samples share pixels: look back two taps before adding one.
    const auto add = [&](int64_t pixel, T weight) {
      for (size_t back = 1; back <= 2 && out->taps.size() >= first_tap + back; ++back) {
        Tap<T>& tap = out->taps[out->taps.size() - back];
        if (tap.pixel == pixel) {
          tap.weight += weight;
          return;
        }
      }
      out->taps.push_back({static_cast<int32_t>(pixel), weight});
    };
    int64_t first, last;
    samples_near_map(axis, b, extent, &first, &last);
    for (int64_t i = first; i < last; ++i) {
      LinearSample<T> sample;
      if (!linear_sample(axis.sample(b, i), extent, &sample)) continue;
      add(sample.low, sample.low_weight * share);
      add(sample.high, sample.high_weight * share);
    }
    out->ends.push_back(static_cast<int32_t>(out->taps.size()));
  }
}

// One RoI, ready to be applied to any plane of its image.
template <class T>
struct RoiTaps {
  static constexpr int64_t kRow = kRoiRow, kAtOnce = 512;
  struct Scratch {};
  struct Buffer {
    std::vector<T> planes, row;  // some planes, interleaved; the rows of a bin, combined
    void fit_row(int64_t size) { row.resize(std::max<size_t>(row.size(), size)); }
  };

  int64_t index;  // row of the RoI in the output
  bool usable;
  AxisTaps<T> rows, columns;
  int64_t first_column = 0, end_column = 0;  // the columns that some tap reads

  void prepare(const T* roi, int64_t roi_index, const LevelShape& level, const RoiAlignOptions& o, Scratch*) {
    const T scale = static_cast<T>(level.spatial_scale);
    const auto x = roi_axis(roi[1], roi[3], scale, o.pooled_width, o.sampling_ratio, o.aligned);
    const auto y = roi_axis(roi[2], roi[4], scale, o.pooled_height, o.sampling_ratio, o.aligned);
    index = roi_index;
    usable = x.usable && y.usable;
    fill_taps(y, o.pooled_height, level.height, sample_share(y), &rows);
    fill_taps(x, o.pooled_width, level.width, sample_share(x), &columns);
    first_column = level.width;
    end_column = 0;
    for (const Tap<T>& tap : columns.taps) {
      first_column = std::min<int64_t>(first_column, tap.pixel);
      end_column = std::max<int64_t>(end_column, tap.pixel + 1);
    }
    first_column = std::min(first_column, end_column);
  }

  // How many pixels of a plane are read, counted as often as they are.
  int64_t visits() const { return static_cast<int64_t>(rows.taps.size()) * (end_column - first_column); }
};

namespace roi_align_detail {

// Sums the rows of a bin, `count` numbers of each.
template <class T>
D2_OPS_INLINE void combine_rows(const T* from, int64_t stride, const Tap<T>* tap, const Tap<T>* end, int64_t count,
                                T* combined) {
  if (tap == end) std::fill(combined, combined + count, T(0));
  for (bool first = true; tap != end; ++tap, first = false) {
    const T* row = from + tap->pixel * stride;
    const T weight = tap->weight;
    if (first)
      for (int64_t i = 0; i < count; ++i) combined[i] = weight * row[i];
    else
      for (int64_t i = 0; i < count; ++i) combined[i] += weight * row[i];
  }
}

// kPlanes planes whose pixels lie beside each other; the pooled planes follow each other.
template <int kPlanes, class T>
D2_OPS_INLINE void pool(const T* planes, int64_t width, const RoiTaps<T>& roi, int64_t pooled_height,
                        int64_t pooled_width, T* combined, T* out) {
  const int64_t first = roi.first_column * kPlanes, count = roi.end_column * kPlanes - first;
  for (int64_t p = 0; p < pooled_height; ++p, out += pooled_width) {
    combine_rows(planes + first, width * kPlanes, roi.rows.begin(p), roi.rows.end(p), count, combined);
    for (int64_t q = 0; q < pooled_width; ++q) {
      T sum[kPlanes] = {};
      for (const Tap<T>* tap = roi.columns.begin(q); tap != roi.columns.end(q); ++tap)
        for (int k = 0; k < kPlanes; ++k) sum[k] += tap->weight * combined[tap->pixel * kPlanes - first + k];
      for (int k = 0; k < kPlanes; ++k) out[k * pooled_height * pooled_width + q] = sum[k];
    }
  }
}

template <class T>
D2_OPS_INLINE void unpool(const T* grad, int64_t width, const RoiTaps<T>& roi, int64_t pooled_height,
                          int64_t pooled_width, T* combined, T* plane) {
  const int64_t first = roi.first_column, end = roi.end_column;
  for (int64_t p = 0; p < pooled_height; ++p, grad += pooled_width) {
    std::fill(combined + first, combined + end, T(0));
    for (int64_t q = 0; q < pooled_width; ++q)
      for (const Tap<T>* tap = roi.columns.begin(q); tap != roi.columns.end(q); ++tap)
        combined[tap->pixel] += tap->weight * grad[q];
    for (const Tap<T>* tap = roi.rows.begin(p); tap != roi.rows.end(p); ++tap) {
      T* row = plane + tap->pixel * width;
      const T weight = tap->weight;
      for (int64_t x = first; x < end; ++x) row[x] += weight * combined[x];
    }
  }
}

#define D2_OPS_ROI_ALIGN_CLONES(T)                                                                           \
  D2_OPS_CLONES static void pool_planes(OnePlane, const T* plane, int64_t width,            \
                                                         const RoiTaps<T>& roi, int64_t ph, int64_t pw,      \
                                                         T* combined, T* out) {                              \
    pool<1>(plane, width, roi, ph, pw, combined, out);                                                       \
  }                                                                                                          \
  D2_OPS_CLONES static void pool_planes(SeveralPlanes, const T* planes, int64_t width,      \
                                                         const RoiTaps<T>& roi, int64_t ph, int64_t pw,      \
                                                         T* combined, T* out) {                              \
    pool<kPlanesTogether>(planes, width, roi, ph, pw, combined, out);                                        \
  }                                                                                                          \
  D2_OPS_CLONES static void unpool_plane(const T* grad, int64_t width,                      \
                                                          const RoiTaps<T>& roi, int64_t ph, int64_t pw,     \
                                                          T* combined, T* plane) {                           \
    unpool(grad, width, roi, ph, pw, combined, plane);                                                       \
  }
D2_OPS_ROI_ALIGN_CLONES(float)
D2_OPS_ROI_ALIGN_CLONES(double)
#undef D2_OPS_ROI_ALIGN_CLONES

}  // namespace roi_align_detail

// rois: roi_count rows of image, x1, y1, x2, y2, image and level within range; out: (roi_count,
// channels, pooled_height, pooled_width). All contiguous. A RoI whose coordinates are not finite (or
// absurdly large) gives NaN.
template <class T, class ParallelFor>
void roi_align(const FeatureLevels<const T>& levels, const T* rois, int64_t roi_count, const RoiAlignOptions& options,
               T* out, const ParallelFor& parallel_for) {
  const int64_t ph = options.pooled_height, pw = options.pooled_width;
  for_each_task<RoiTaps<T>>(
      levels, rois, roi_count, options, kPlanesTogether, parallel_for,
      [&](const PlanesTask& task, const RoiTaps<T>* first, typename RoiTaps<T>::Buffer* buffer) {
        const RoiTaps<T>* end = first + (task.end_roi - task.first_roi);
        const int64_t width = levels.level[task.level].width;
        buffer->fit_row(kPlanesTogether * width);
        int64_t visits = 0;
        for (const RoiTaps<T>* roi = first; roi != end; ++roi) visits += roi->visits();
        for_planes_of_task(levels, task, visits, &buffer->planes, [&](auto planes, const T* pixels, int64_t channel) {
          for (const RoiTaps<T>* roi = first; roi != end; ++roi) {
            T* pooled = out + (roi->index * levels.channels + channel) * ph * pw;
            if (roi->usable)
              roi_align_detail::pool_planes(planes, pixels, width, *roi, ph, pw, buffer->row.data(), pooled);
            else
              std::fill(pooled, pooled + planes * ph * pw, std::numeric_limits<T>::quiet_NaN());
          }
        });
      });
}

// Adds to the levels (zeros at first) what grad_out sends back to them.
template <class T, class ParallelFor>
void roi_align_backward(const T* grad_out, const T* rois, int64_t roi_count, const RoiAlignOptions& options,
                        const FeatureLevels<T>& grad_levels, const ParallelFor& parallel_for) {
  const int64_t ph = options.pooled_height, pw = options.pooled_width;
  for_each_plane<RoiTaps<T>>(
      grad_levels, rois, roi_count, options, parallel_for,
      [&](const RoiTaps<T>& roi, int64_t level, int64_t image, int64_t first, int64_t end, auto* buffer) {
        if (!roi.usable) return;
        buffer->fit_row(grad_levels.level[level].width);
        for (int64_t c = first; c < end; ++c)
          roi_align_detail::unpool_plane(grad_out + (roi.index * grad_levels.channels + c) * ph * pw,
                                         grad_levels.level[level].width, roi, ph, pw, buffer->row.data(),
                                         grad_levels.plane(level, image, c));
      });
}

}  // namespace d2_ops
