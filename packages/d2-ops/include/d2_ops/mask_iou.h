// Overlaps of detections with ground truths as COCO measures them: a detection within a crowd
// region counts by the share of the detection that the region covers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "mask_spans.h"
#include "platform.h"

namespace d2_ops {

inline double mask_iou(const MaskSpans& detection, const MaskSpans& truth, bool crowd) {
  const int64_t both = box_intersection(detection, truth) == 0 ? 0 : intersection(detection, truth);
  if (both == 0) return 0.0;
  const int64_t any = crowd ? detection.area : detection.area + truth.area - both;
  return static_cast<double>(both) / static_cast<double>(any);
}

namespace box_iou_detail {

// truths: x, y, width and height, `count` of each; out: count numbers.
D2_OPS_CLONES static void overlap_row(const double* box, const double* truths, const uint8_t* crowd,
                                                       int64_t count, double* out) {
  const double left = box[0], top = box[1], right = box[2] + box[0], bottom = box[3] + box[1], size = box[2] * box[3];
  const double *x = truths, *y = truths + count, *w = truths + 2 * count, *h = truths + 3 * count;
  for (int64_t i = 0; i < count; ++i) {
    const double width = std::min(right, w[i] + x[i]) - std::max(left, x[i]);
    const double height = std::min(bottom, h[i] + y[i]) - std::max(top, y[i]);
    const double both = width * height;
    const double whole = crowd[i] ? size : size + w[i] * h[i] - both;
    out[i] = width > 0.0 && height > 0.0 ? both / whole : 0.0;
  }
}

}  // namespace box_iou_detail

// boxes: `count` rows of x, y, width, height; truths: the same of truth_count, transposed.
// out: (count, truth_count).
template <class ParallelFor>
void crowd_box_iou(const double* boxes, int64_t count, const double* truths, const uint8_t* crowd,
                   int64_t truth_count, double* out, const ParallelFor& parallel_for) {
  const int64_t grain = 1 + (1 << 16) / std::max<int64_t>(truth_count, 1);
  parallel_for(0, count, grain, [&](int64_t from, int64_t to) {
    for (int64_t d = from; d < to; ++d)
      box_iou_detail::overlap_row(boxes + 4 * d, truths, crowd, truth_count, out + d * truth_count);
  });
}

}  // namespace d2_ops
