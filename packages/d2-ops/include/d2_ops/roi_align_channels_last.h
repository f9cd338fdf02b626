// RoIAlign on the CPU of maps whose channels lie beside each other (images, height, width, channels).
//
// The arithmetic of roi_align.h in the same order, and so the same bits. A row of a RoI is one piece of
// memory with all channels, so that rows are combined as they lie.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "roi_align.h"

namespace d2_ops {
namespace roi_align_detail {

constexpr int64_t kChannelsTogether = 32;  // whose sums fit registers

template <class T>
D2_OPS_INLINE void pool_columns(const T* combined, int64_t channels, int64_t count, int64_t first_column,
                                const Tap<T>* tap, const Tap<T>* end, int64_t out_stride, T* out) {
  T sum[kChannelsTogether] = {};
  for (; tap != end; ++tap) {
    const T* pixel = combined + (tap->pixel - first_column) * channels;
    const T weight = tap->weight;
    for (int64_t k = 0; k < count; ++k) sum[k] += weight * pixel[k];
  }
  for (int64_t k = 0; k < count; ++k) out[k * out_stride] = sum[k];
}

// All channels of one RoI; image: its first pixel.
template <class T>
D2_OPS_INLINE void pool_last(const T* image, int64_t width, int64_t channels, const RoiTaps<T>& roi,
                             int64_t pooled_height, int64_t pooled_width, T* combined, T* out) {
  const int64_t first = roi.first_column, size = pooled_height * pooled_width;
  for (int64_t p = 0; p < pooled_height; ++p, out += pooled_width) {
    combine_rows(image + first * channels, width * channels, roi.rows.begin(p), roi.rows.end(p),
                 (roi.end_column - first) * channels, combined);
    for (int64_t q = 0; q < pooled_width; ++q) {
      const Tap<T>*tap = roi.columns.begin(q), *end = roi.columns.end(q);
      int64_t c = 0;
      for (; c + kChannelsTogether <= channels; c += kChannelsTogether)
        pool_columns(combined + c, channels, kChannelsTogether, first, tap, end, size, out + c * size + q);
      if (c < channels) pool_columns(combined + c, channels, channels - c, first, tap, end, size, out + c * size + q);
    }
  }
}

// Some channels of one RoI; grad: of the first of them; image: the first of them in its first pixel.
template <class T>
D2_OPS_INLINE void unpool_last(const T* grad, int64_t width, int64_t channels, int64_t count, const RoiTaps<T>& roi,
                               int64_t pooled_height, int64_t pooled_width, T* combined, T* image) {
  const int64_t first = roi.first_column, columns = roi.end_column - first, size = pooled_height * pooled_width;
  for (int64_t p = 0; p < pooled_height; ++p, grad += pooled_width) {
    std::fill(combined, combined + columns * count, T(0));
    for (int64_t q = 0; q < pooled_width; ++q) {
      T bin[kChannelsTogether];
      for (int64_t k = 0; k < count; ++k) bin[k] = grad[k * size + q];
      for (const Tap<T>* tap = roi.columns.begin(q); tap != roi.columns.end(q); ++tap) {
        T* pixel = combined + (tap->pixel - first) * count;
        const T weight = tap->weight;
        for (int64_t k = 0; k < count; ++k) pixel[k] += weight * bin[k];
      }
    }
    for (const Tap<T>* tap = roi.rows.begin(p); tap != roi.rows.end(p); ++tap) {
      T* row = image + (tap->pixel * width + first) * channels;
      const T weight = tap->weight;
      for (int64_t x = 0; x < columns; ++x)
        for (int64_t k = 0; k < count; ++k) row[x * channels + k] += weight * combined[x * count + k];
    }
  }
}

#define D2_OPS_ROI_ALIGN_LAST_CLONES(T)                                                                          \
  D2_OPS_CLONES static void pool_roi(const T* image, int64_t width, int64_t channels, const RoiTaps<T>& roi,     \
                                     int64_t ph, int64_t pw, T* combined, T* out) {                              \
    pool_last(image, width, channels, roi, ph, pw, combined, out);                                               \
  }                                                                                                              \
  D2_OPS_CLONES static void unpool_roi(const T* grad, int64_t width, int64_t channels, int64_t count,            \
                                       const RoiTaps<T>& roi, int64_t ph, int64_t pw, T* combined, T* image) {   \
    if (count == kChannelsTogether)                                                                              \
      unpool_last(grad, width, channels, kChannelsTogether, roi, ph, pw, combined, image);                       \
    else                                                                                                         \
      unpool_last(grad, width, channels, count, roi, ph, pw, combined, image);                                   \
  }
D2_OPS_ROI_ALIGN_LAST_CLONES(float)
D2_OPS_ROI_ALIGN_LAST_CLONES(double)
#undef D2_OPS_ROI_ALIGN_LAST_CLONES

}  // namespace roi_align_detail

// As roi_align; only the maps lie otherwise, the output does not.
template <class T, class ParallelFor>
void roi_align_channels_last(const FeatureLevels<const T>& levels, const T* rois, int64_t roi_count,
                             const RoiAlignOptions& options, T* out, const ParallelFor& parallel_for) {
  const int64_t ph = options.pooled_height, pw = options.pooled_width, channels = levels.channels;
  for_each_chunk<RoiTaps<T>>(
      levels, rois, roi_count, options, parallel_for, [&](const RoiTaps<T>* taps, int64_t count) {
        parallel_for(0, count, 4, [&](int64_t from, int64_t to) {
          typename RoiTaps<T>::Buffer buffer;
          for (const RoiTaps<T>* roi = taps + from; roi != taps + to; ++roi) {
            const int64_t level = levels.level_of(roi->index), width = levels.level[level].width;
            T* pooled = out + roi->index * channels * ph * pw;
            if (!roi->usable) {
              std::fill(pooled, pooled + channels * ph * pw, std::numeric_limits<T>::quiet_NaN());
              continue;
            }
            buffer.fit_row((roi->end_column - roi->first_column) * channels);
            const int64_t image = static_cast<int64_t>(rois[RoiTaps<T>::kRow * roi->index]);
            roi_align_detail::pool_roi(levels.plane(level, image, 0), width, channels, *roi, ph, pw,
                                       buffer.row.data(), pooled);
          }
        });
      });
}

// As roi_align_backward; only the maps lie otherwise, grad_out does not.
template <class T, class ParallelFor>
void roi_align_channels_last_backward(const T* grad_out, const T* rois, int64_t roi_count,
                                      const RoiAlignOptions& options, const FeatureLevels<T>& grad_levels,
                                      const ParallelFor& parallel_for) {
  const int64_t ph = options.pooled_height, pw = options.pooled_width, channels = grad_levels.channels;
  for_each_block<RoiTaps<T>>(
      grad_levels, rois, roi_count, options, [](const LevelShape&) { return roi_align_detail::kChannelsTogether; },
      parallel_for, [&](const PlanesTask& task, const RoiTaps<T>* first, typename RoiTaps<T>::Buffer* buffer) {
        const int64_t count = task.end_channel - task.first_channel;
        T* image = grad_levels.plane(task.level, task.image, 0) + task.first_channel;
        for (const RoiTaps<T>* roi = first; roi != first + (task.end_roi - task.first_roi); ++roi) {
          if (!roi->usable) continue;
          buffer->fit_row((roi->end_column - roi->first_column) * count);
          roi_align_detail::unpool_roi(grad_out + (roi->index * channels + task.first_channel) * ph * pw,
                                       grad_levels.level[task.level].width, channels, count, *roi, ph, pw,
                                       buffer->row.data(), image);
        }
      });
}

}  // namespace d2_ops
