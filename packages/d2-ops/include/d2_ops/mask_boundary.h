// The boundary of a mask: the set pixels within a distance of pixels that are not set, or of the
// border of the image (Cheng et al., "Boundary IoU", 2021).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "platform.h"
#include "run_columns.h"
#include "run_sets.h"
#include "runs.h"

namespace d2_ops {

// The distance in pixels: a share of the image's diagonal, at least 1. More than the image is large makes no difference.
inline int64_t boundary_distance(int64_t height, int64_t width, double ratio) {
  const double h = static_cast<double>(height), w = static_cast<double>(width);
  const double distance = std::nearbyint(ratio * std::sqrt(h * h + w * w));
  return static_cast<int64_t>(std::clamp(distance, 1.0, h + w + 1.0));
}

namespace mask_boundary_detail {

D2_OPS_CLONES static void lengthen(int32_t* streaks, int64_t count) {
  for (int64_t i = 0; i < count; ++i) ++streaks[i];
}

D2_OPS_CLONES static void mark_long(const int32_t* streaks, int64_t count, int32_t wanted,
                                                     uint8_t* marks) {
  for (int64_t i = 0; i < count; ++i) marks[i] = streaks[i] >= wanted;
}

// For every row, through how many columns in a row a pixel has been far from the ends of its
// column's runs. Where that is 2 * distance + 1 columns, the pixel in the middle of them is inside.
class Erosion {
 public:
  Erosion(int64_t height, const PixelBox& box, int64_t distance)
      : height_(height), box_(box), distance_(distance), streaks_(box.bottom - box.top), marks_(streaks_.size() + 2) {}

  Runs of(const Runs& runs) {
    int64_t column = box_.left;
    for_each_column_part(runs, height_, [&](int64_t x, int64_t top, int64_t bottom) {
      for (; column < x; ++column) finish_column();
      add(x, top + distance_ - box_.top, bottom - distance_ - box_.top);
    });
    return std::move(inside_);
  }

 private:
  void add(int64_t column, int64_t top, int64_t bottom) {
    if (top >= bottom) return;
    std::fill(streaks_.begin() + row_, streaks_.begin() + top, 0);
    row_ = bottom;
    lengthen(streaks_.data() + top, bottom - top);
    const int64_t middle = column - distance_;
    if (middle < box_.left + distance_) return;
    // One mark of zero on either side, so that every run of marks has two ends.
    const int64_t count = bottom - top;
    marks_[0] = marks_[count + 1] = 0;
    mark_long(streaks_.data() + top, count, static_cast<int32_t>(2 * distance_ + 1), marks_.data() + 1);
    const int64_t first = middle * height_ + box_.top + top;
    bool opens = true;
    runs_detail::for_each_difference(marks_.data() + 1, marks_.data(), count + 1, [&](int64_t i) {
      if (opens)
        inside_.push_back({first + i, 0});
      else
        inside_.back().end = first + i;
      opens = !opens;
    });
  }

  void finish_column() {
    std::fill(streaks_.begin() + row_, streaks_.end(), 0);
    row_ = 0;
  }

  int64_t height_;
  PixelBox box_;
  int64_t distance_, row_ = 0;
  std::vector<int32_t> streaks_;
  std::vector<uint8_t> marks_;
  Runs inside_;
};

}  // namespace mask_boundary_detail

inline Runs boundary_of_runs(const Runs& runs, int64_t height, int64_t distance) {
  const PixelBox box = box_of_runs(runs, height);
  const int64_t thickness = 2 * distance + 1;
  if (box.right - box.left < thickness || box.bottom - box.top < thickness) return runs;
  return without(runs, mask_boundary_detail::Erosion(height, box, distance).of(runs));
}

}  // namespace d2_ops
