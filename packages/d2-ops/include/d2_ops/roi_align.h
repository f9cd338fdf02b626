// RoIAlign on the CPU, forward and backward.
//
// The bilinear weights of a bin's samples factor into rows and columns, so each axis of a RoI is
// first summed into taps (pixel, weight) per bin. Pooling a plane is then two short matrix
// products: rows are combined across the RoI's width (contiguous, vectorised), and the combined
// row is read once per column tap. Planes are the outer loop, so that a plane stays in cache
// while all its RoIs are pooled, and so that the backward pass needs no atomics and is
// deterministic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "platform.h"
#include "roi_geometry.h"

namespace d2_ops {

template <class T>
struct Tap {
  int32_t pixel;
  T weight;
};

// The taps of the bins of one axis: bin b owns taps [ends[b], ends[b + 1]).
template <class T>
struct AxisTaps {
  std::vector<Tap<T>> taps;
  std::vector<int32_t> ends;

  const Tap<T>* begin(int64_t b) const { return taps.data() + ends[b]; }
  const Tap<T>* end(int64_t b) const { return taps.data() + ends[b + 1]; }
};

template <class T>
void fill_taps(const RoiAxis<T>& axis, int64_t bins, int64_t extent, AxisTaps<T>* out) {
  out->taps.clear();
  out->ends.assign(1, 0);
  const T norm = T(1) / static_cast<T>(std::max<int64_t>(axis.grid, 1));
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
      add(sample.low, sample.low_weight * norm);
      add(sample.high, sample.high_weight * norm);
    }
    out->ends.push_back(static_cast<int32_t>(out->taps.size()));
  }
}

// One RoI, ready to be applied to any plane of its image.
template <class T>
struct RoiTaps {
  int64_t index;  // row of the RoI in the output
  bool usable;
  AxisTaps<T> rows, columns;
  int64_t first_column = 0, end_column = 0;  // the columns that some tap reads

  void prepare(const T* roi, int64_t roi_index, int64_t height, int64_t width, const RoiAlignOptions& o) {
    const T scale = static_cast<T>(o.spatial_scale);
    const auto x = roi_axis(roi[1], roi[3], scale, o.pooled_width, o.sampling_ratio, o.aligned);
    const auto y = roi_axis(roi[2], roi[4], scale, o.pooled_height, o.sampling_ratio, o.aligned);
    index = roi_index;
    usable = x.usable && y.usable;
    fill_taps(y, o.pooled_height, height, &rows);
    fill_taps(x, o.pooled_width, width, &columns);
    first_column = width;
    end_column = 0;
    for (const Tap<T>& tap : columns.taps) {
      first_column = std::min<int64_t>(first_column, tap.pixel);
      end_column = std::max<int64_t>(end_column, tap.pixel + 1);
    }
    first_column = std::min(first_column, end_column);
  }
};

namespace roi_align_detail {

template <class T>
D2_OPS_INLINE void pool(const T* plane, int64_t width, const RoiTaps<T>& roi, int64_t pooled_height,
                        int64_t pooled_width, T* combined, T* out) {
  const int64_t first = roi.first_column, end = roi.end_column;
  for (int64_t p = 0; p < pooled_height; ++p, out += pooled_width) {
    std::fill(combined + first, combined + end, T(0));
    for (const Tap<T>* tap = roi.rows.begin(p); tap != roi.rows.end(p); ++tap) {
      const T* row = plane + tap->pixel * width;
      const T weight = tap->weight;
      for (int64_t x = first; x < end; ++x) combined[x] += weight * row[x];
    }
    for (int64_t q = 0; q < pooled_width; ++q) {
      T sum = 0;
      for (const Tap<T>* tap = roi.columns.begin(q); tap != roi.columns.end(q); ++tap)
        sum += tap->weight * combined[tap->pixel];
      out[q] = sum;
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

#define D2_OPS_ROI_ALIGN_CLONES(T)                                                                         \
  [[maybe_unused]] D2_OPS_CLONES static void pool_plane(const T* plane, int64_t width, const RoiTaps<T>& roi, \
                                                        int64_t ph, int64_t pw, T* combined, T* out) {      \
    pool(plane, width, roi, ph, pw, combined, out);                                                        \
  }                                                                                                        \
  [[maybe_unused]] D2_OPS_CLONES static void unpool_plane(const T* grad, int64_t width,                    \
                                                          const RoiTaps<T>& roi, int64_t ph, int64_t pw,   \
                                                          T* combined, T* plane) {                         \
    unpool(grad, width, roi, ph, pw, combined, plane);                                                     \
  }
D2_OPS_ROI_ALIGN_CLONES(float)
D2_OPS_ROI_ALIGN_CLONES(double)
#undef D2_OPS_ROI_ALIGN_CLONES

constexpr int64_t kRoisAtOnce = 512;           // bounds the memory of the taps
constexpr int64_t kPlanesBytes = 512 * 1024;   // planes visited together, about an L2 cache

// Calls visit(roi, plane index, scratch row) for every RoI and every channel of its image. All
// visits of one plane happen on one thread, in RoI order.
template <class T, class ParallelFor, class Visit>
void for_each_plane(const T* rois, int64_t roi_count, int64_t channels, int64_t height, int64_t width,
                    const RoiAlignOptions& options, const ParallelFor& parallel_for, const Visit& visit) {
  std::vector<int64_t> order(roi_count);
  std::iota(order.begin(), order.end(), 0);
  const auto image_of = [&](int64_t roi) { return static_cast<int64_t>(rois[5 * roi]); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return image_of(a) < image_of(b); });

  const int64_t plane_bytes = std::max<int64_t>(height * width * sizeof(T), 1);
  const int64_t block = std::clamp<int64_t>(kPlanesBytes / plane_bytes, 1, 16);
  const int64_t blocks = (channels + block - 1) / block;
  std::vector<RoiTaps<T>> taps(std::min(roi_count, kRoisAtOnce));
  for (int64_t chunk = 0; chunk < roi_count; chunk += kRoisAtOnce) {
    const int64_t count = std::min(kRoisAtOnce, roi_count - chunk);
    std::vector<int64_t> images{0};  // where each image's RoIs begin in this chunk, and the end
    for (int64_t k = 1; k < count; ++k)
      if (image_of(order[chunk + k]) != image_of(order[chunk + k - 1])) images.push_back(k);
    images.push_back(count);

    parallel_for(0, count, 16, [&](int64_t from, int64_t to) {
      for (int64_t k = from; k < to; ++k) {
        const int64_t roi = order[chunk + k];
        taps[k].prepare(rois + 5 * roi, roi, height, width, options);
      }
    });
    const int64_t tasks = (static_cast<int64_t>(images.size()) - 1) * blocks;
    parallel_for(0, tasks, 1, [&](int64_t from, int64_t to) {
      std::vector<T> row(width);
      for (int64_t task = from; task < to; ++task) {
        const int64_t image = task / blocks, first_channel = task % blocks * block;
        const int64_t end_channel = std::min(first_channel + block, channels);
        for (int64_t k = images[image]; k < images[image + 1]; ++k)
          for (int64_t c = first_channel; c < end_channel; ++c)
            visit(taps[k], image_of(taps[k].index) * channels + c, c, row.data());
      }
    });
  }
}

}  // namespace roi_align_detail

// input: (images, channels, height, width); rois: roi_count rows of image, x1, y1, x2, y2, the
// image within range; out: (roi_count, channels, pooled_height, pooled_width). All contiguous.
// A RoI whose coordinates are not finite (or absurdly large) gives NaN.
template <class T, class ParallelFor>
void roi_align(const T* input, const T* rois, int64_t roi_count, int64_t channels, int64_t height, int64_t width,
               const RoiAlignOptions& options, T* out, const ParallelFor& parallel_for) {
  const int64_t ph = options.pooled_height, pw = options.pooled_width;
  roi_align_detail::for_each_plane(
      rois, roi_count, channels, height, width, options, parallel_for,
      [&](const RoiTaps<T>& roi, int64_t plane, int64_t channel, T* row) {
        T* pooled = out + (roi.index * channels + channel) * ph * pw;
        if (roi.usable)
          roi_align_detail::pool_plane(input + plane * height * width, width, roi, ph, pw, row, pooled);
        else
          std::fill(pooled, pooled + ph * pw, std::numeric_limits<T>::quiet_NaN());
      });
}

// Adds to grad_input (zeros at first) what grad_out sends back to it.
template <class T, class ParallelFor>
void roi_align_backward(const T* grad_out, const T* rois, int64_t roi_count, int64_t channels, int64_t height,
                        int64_t width, const RoiAlignOptions& options, T* grad_input,
                        const ParallelFor& parallel_for) {
  const int64_t ph = options.pooled_height, pw = options.pooled_width;
  roi_align_detail::for_each_plane(
      rois, roi_count, channels, height, width, options, parallel_for,
      [&](const RoiTaps<T>& roi, int64_t plane, int64_t channel, T* row) {
        if (roi.usable)
          roi_align_detail::unpool_plane(grad_out + (roi.index * channels + channel) * ph * pw, width, roi, ph, pw,
                                         row, grad_input + plane * height * width);
      });
}

}  // namespace d2_ops
