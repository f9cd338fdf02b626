// Rotated RoIAlign on the CPU, forward and backward.
//
// Each RoI is first turned into the pixels that its bins read and their weights: the samples of a
// bin share most of their pixels, and all planes share the result.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "interleaved_planes.h"
#include "platform.h"
#include "roi_planes.h"
#include "rotated_roi.h"

namespace d2_ops {

// One rotated RoI, ready to be applied to any plane of its image: bin b owns taps [ends[b], ends[b + 1]).
template <class T>
struct RotatedRoiTaps {
  static constexpr int64_t kRow = kRotatedRoiRow, kAtOnce = 128;

  struct Scratch {
    std::vector<T> weight;  // of each pixel of a plane in the bin at work, otherwise zeros
    std::vector<int32_t> touched;
  };

  struct Buffer {
    std::vector<T> planes;  // some, interleaved
  };

  int64_t index;  // row of the RoI in the output
  bool usable;
  std::vector<Tap<T>> taps;
  std::vector<int64_t> ends;

  void prepare(const T* row, int64_t roi_index, const LevelShape& level, const RoiAlignOptions& o, Scratch* scratch) {
    const RotatedRoi<T> roi(row, level, o);
    index = roi_index;
    usable = roi.usable;
    taps.clear();
    ends.assign(1, 0);
    if (!usable) return;
    scratch->weight.resize(std::max<size_t>(scratch->weight.size(), level.height * level.width), T(0));
    const T norm = T(1) / roi.samples();
    for (int64_t bin = 0; bin < o.pooled_height * o.pooled_width; ++bin) {
      const auto add = [&](int64_t pixel, T weight) {
        if (weight == T(0)) return;
        if (scratch->weight[pixel] == T(0)) scratch->touched.push_back(static_cast<int32_t>(pixel));
        scratch->weight[pixel] += weight;
      };
      for_each_rotated_pixel(roi, bin / o.pooled_width, bin % o.pooled_width, level.height, level.width, add);
      for (const int32_t pixel : scratch->touched) {
        taps.push_back({pixel, scratch->weight[pixel] * norm});
        scratch->weight[pixel] = T(0);
      }
      scratch->touched.clear();
      ends.push_back(static_cast<int64_t>(taps.size()));
    }
  }
};

namespace roi_align_rotated_detail {

// kPlanes planes whose pixels lie beside each other; the pooled planes follow each other.
template <int kPlanes, class T>
D2_OPS_INLINE void pool(const T* planes, const RotatedRoiTaps<T>& roi, int64_t bins, T* out) {
  for (int64_t bin = 0; bin < bins; ++bin) {
    T sum[kPlanes] = {};
    for (int64_t t = roi.ends[bin]; t < roi.ends[bin + 1]; ++t)
      for (int k = 0; k < kPlanes; ++k) sum[k] += roi.taps[t].weight * planes[int64_t(roi.taps[t].pixel) * kPlanes + k];
    for (int k = 0; k < kPlanes; ++k) out[k * bins + bin] = sum[k];
  }
}

#define D2_OPS_ROI_ALIGN_ROTATED_CLONES(T)                                                                   \
  D2_OPS_CLONES static void pool_planes(OnePlane, const T* plane,                           \
                                                         const RotatedRoiTaps<T>& roi, int64_t bins, T* out) { \
    pool<1>(plane, roi, bins, out);                                                                          \
  }                                                                                                          \
  D2_OPS_CLONES static void pool_planes(SeveralPlanes, const T* planes,                     \
                                                         const RotatedRoiTaps<T>& roi, int64_t bins, T* out) { \
    pool<kPlanesTogether>(planes, roi, bins, out);                                                           \
  }
D2_OPS_ROI_ALIGN_ROTATED_CLONES(float)
D2_OPS_ROI_ALIGN_ROTATED_CLONES(double)
#undef D2_OPS_ROI_ALIGN_ROTATED_CLONES

template <class T>
void unpool(const RotatedRoiTaps<T>& roi, int64_t bins, const T* grad_out, T* plane) {
  for (int64_t bin = 0; bin < bins; ++bin)
    for (int64_t t = roi.ends[bin]; t < roi.ends[bin + 1]; ++t)
      plane[roi.taps[t].pixel] += roi.taps[t].weight * grad_out[bin];
}

}  // namespace roi_align_rotated_detail

// levels: fewer than 2^31 pixels in a plane; rois: roi_count rows of image, centre x, centre y, width,
// height and degrees counter-clockwise, image and level within range; out: (roi_count, channels,
// pooled_height, pooled_width). All contiguous. A RoI whose coordinates are not finite (or absurdly
// large) gives NaN.
template <class T, class ParallelFor>
void roi_align_rotated(const FeatureLevels<const T>& levels, const T* rois, int64_t roi_count,
                       const RoiAlignOptions& options, T* out, const ParallelFor& parallel_for) {
  const int64_t bins = options.pooled_height * options.pooled_width;
  for_each_task<RotatedRoiTaps<T>>(
      levels, rois, roi_count, options, kPlanesTogether, parallel_for,
      [&](const PlanesTask& task, const RotatedRoiTaps<T>* first, typename RotatedRoiTaps<T>::Buffer* buffer) {
        const RotatedRoiTaps<T>* end = first + (task.end_roi - task.first_roi);
        int64_t visits = 0;
        for (const RotatedRoiTaps<T>* roi = first; roi != end; ++roi)
          visits += static_cast<int64_t>(roi->taps.size());
        for_planes_of_task(levels, task, visits, &buffer->planes, [&](auto planes, const T* pixels, int64_t channel) {
          for (const RotatedRoiTaps<T>* roi = first; roi != end; ++roi) {
            T* pooled = out + (roi->index * levels.channels + channel) * bins;
            if (roi->usable)
              roi_align_rotated_detail::pool_planes(planes, pixels, *roi, bins, pooled);
            else
              std::fill(pooled, pooled + planes * bins, std::numeric_limits<T>::quiet_NaN());
          }
        });
      });
}

// Adds to the levels (zeros at first) what grad_out sends back to them.
template <class T, class ParallelFor>
void roi_align_rotated_backward(const T* grad_out, const T* rois, int64_t roi_count, const RoiAlignOptions& options,
                                const FeatureLevels<T>& grad_levels, const ParallelFor& parallel_for) {
  const int64_t bins = options.pooled_height * options.pooled_width;
  for_each_plane<RotatedRoiTaps<T>>(
      grad_levels, rois, roi_count, options, parallel_for,
      [&](const RotatedRoiTaps<T>& roi, int64_t level, int64_t image, int64_t first, int64_t end, auto*) {
        if (!roi.usable) return;
        for (int64_t c = first; c < end; ++c)
          roi_align_rotated_detail::unpool(roi, bins, grad_out + (roi.index * grad_levels.channels + c) * bins,
                                           grad_levels.plane(level, image, c));
      });
}

}  // namespace d2_ops
