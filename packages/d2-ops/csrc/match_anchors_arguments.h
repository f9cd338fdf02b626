// What match_anchors asks of its arguments, on every device.
#pragma once

#include <cmath>
#include <vector>

#include "d2_ops/box_overlap.h"
#include "d2_ops/match_quality.h"
#include "tensor_arguments.h"

namespace d2_ops {

inline void check_match_anchors_arguments(const Tensor& gt_boxes, const Tensor& anchors) {
  constexpr const char* op = "match_anchors";
  require_matrix(gt_boxes, kBoxRow, op, "gt_boxes");
  require_matrix(anchors, kBoxRow, op, "anchors");
  require_floating(anchors, op, "anchors");
  require(gt_boxes.scalar_type() == anchors.scalar_type(), op, ": gt_boxes must have the dtype of anchors");
  require(gt_boxes.get_device_index() == anchors.get_device_index(), op,
          ": gt_boxes must be on the device of anchors");
  require(gt_boxes.size(0) < int64_t(1) << 31, op, ": gt_boxes has 2^31 rows or more");
}

template <class T>
MatchBins<T> match_bins(const std::vector<double>& thresholds, const std::vector<int64_t>& labels) {
  constexpr const char* op = "match_anchors";
  const int64_t count = static_cast<int64_t>(thresholds.size());
  require(count <= MatchBins<T>::kMost, op, ": thresholds has ", count, " values, at most ", MatchBins<T>::kMost,
          " are supported");
  require(static_cast<int64_t>(labels.size()) == count + 1, op, ": labels must have one value more than thresholds, ",
          count + 1, ", got ", labels.size());
  MatchBins<T> bins{};
  bins.count = count;
  for (int64_t i = 0; i <= count; ++i) {
    require(labels[i] >= -128 && labels[i] <= 127, op, ": labels[", i, "] is ", labels[i], ", not an int8");
    bins.labels[i] = static_cast<int32_t>(labels[i]);
    if (i == count) break;
    require(thresholds[i] > 0 && (i == 0 || thresholds[i] >= thresholds[i - 1]), op,
            ": thresholds must be positive and increasing, got ", thresholds[i], " at ", i);
    bins.thresholds[i] = static_cast<T>(thresholds[i]);
  }
  return bins;
}

}  // namespace d2_ops
