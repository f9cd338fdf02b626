// Greedy non-maximum suppression of rotated boxes, within classes or across all.
//
// Like nms.h, with the IoU of box_iou_rotated.h in float64. Angles count only through the area
// covered. A box that is not finite has no IoU: it neither suppresses nor is suppressed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "greedy_nms.h"
#include "platform.h"
#include "rotated_columns.h"

namespace d2_ops {

struct SuppressibleRotatedColumns : RotatedColumns {
  using Value = double;
  using RotatedColumns::RotatedColumns;
  static constexpr int64_t kRow = kRotatedBoxRow;
  static constexpr int64_t kPairs = 1 << 17;

  void suppress(const int64_t* by, int64_t by_count, int64_t begin, int64_t end, double threshold,
                uint8_t* dead) const;
};

namespace nms_rotated_detail {

D2_OPS_CLONES static void suppress(const RotatedColumns& boxes, const int64_t* by, int64_t by_count,
                                                    int64_t begin, int64_t end, double threshold, uint8_t* dead) {
  double iou[RotatedColumns::kTile];
  for (int64_t tile = begin; tile < end; tile += RotatedColumns::kTile) {
    const int64_t count = std::min(RotatedColumns::kTile, end - tile);
    for (int64_t k = 0; k < by_count; ++k) {
      iou_of_tile(boxes.get(by[k]), boxes, tile, count, iou);
      for (int64_t j = 0; j < count; ++j) dead[tile + j] |= static_cast<uint8_t>(iou[j] > threshold);
    }
  }
}

}  // namespace nms_rotated_detail

inline void SuppressibleRotatedColumns::suppress(const int64_t* by, int64_t by_count, int64_t begin, int64_t end,
                                                 double threshold, uint8_t* dead) const {
  nms_rotated_detail::suppress(*this, by, by_count, begin, end, threshold, dead);
}

// boxes: n rows of centre x, centre y, width, height and degrees counter-clockwise; scores: n;
// classes: n labels, or null for one class.
template <class S, class ParallelFor>
Suppression nms_rotated_of_all(const double* boxes, const S* scores, const int64_t* classes, int64_t n,
                               double iou_threshold, const ParallelFor& parallel_for) {
  return suppress_greedily<SuppressibleRotatedColumns>(boxes, scores, classes, n, iou_threshold, parallel_for);
}

// Indices of the kept boxes, by decreasing score.
template <class S, class ParallelFor>
std::vector<int64_t> nms_rotated(const double* boxes, const S* scores, const int64_t* classes, int64_t n,
                                 double iou_threshold, const ParallelFor& parallel_for) {
  return kept_of(nms_rotated_of_all(boxes, scores, classes, n, iou_threshold, parallel_for));
}

}  // namespace d2_ops
