// Polygons to pixels exactly as COCO draws them: the outline is walked on a grid five times finer
// than the pixels, and every place where it steps across the middle of a pixel column toggles the
// mask from there on, down that column.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "runs.h"

namespace d2_ops {

// Coordinates must be finite and within this many pixels of the origin, where COCO's own
// arithmetic does not overflow.
constexpr double kPolygonLimit = 1 << 28;

inline bool within_polygon_limit(double coordinate) {  // false for NaN
  return std::fabs(coordinate) <= kPolygonLimit;
}

namespace polygon_detail {

constexpr int64_t kFine = 5;    // fine steps per pixel
constexpr int64_t kMiddle = 2;  // a column's middle lies between fine steps 2 and 3

struct FinePoint {
  int64_t x, y;
};

inline FinePoint fine_point(const double* xy) {
  return {static_cast<int64_t>(kFine * xy[0] + 0.5), static_cast<int64_t>(kFine * xy[1] + 0.5)};
}

struct Toggles {
  int64_t height, width;
  std::vector<int64_t> at;

  void add(int64_t column, int64_t fine_y) {
    const int64_t shifted = std::max<int64_t>(fine_y + kMiddle, 0);
    at.push_back(column * height + std::min(shifted / kFine, height));
  }
};

// The fine coordinate at distance t along an edge that climbs `slope` per step.
inline int64_t along(int64_t start, double slope, int64_t t) {
  return static_cast<int64_t>(static_cast<double>(start) + slope * static_cast<double>(t) + 0.5);
}

// Calls visit(column) for the columns of the image whose middle lies between two fine x.
template <class Visit>
void for_each_middle(int64_t low, int64_t high, int64_t width, const Visit& visit) {
  int64_t column = low <= kMiddle ? 0 : (low - kMiddle + kFine - 1) / kFine;
  for (; column < width && kFine * column + kMiddle < high; ++column) visit(column);
}

// An edge that is at least as wide as it is high: y is a function of x.
inline void cross_columns_of_wide_edge(FinePoint left, FinePoint right, Toggles* toggles) {
  const double slope = static_cast<double>(right.y - left.y) / static_cast<double>(right.x - left.x);
  for_each_middle(left.x, right.x, toggles->width, [&](int64_t column) {
    const int64_t t = kFine * column + kMiddle - left.x;
    toggles->add(column, std::min(along(left.y, slope, t), along(left.y, slope, t + 1)));
  });
}

// An edge higher than it is wide: x is a function of y, and takes every value in between. The step
// that crosses a middle is computed from the inverse and corrected by the function itself.
inline void cross_columns_of_high_edge(FinePoint top, FinePoint bottom, Toggles* toggles) {
  const int64_t length = bottom.y - top.y;
  const double slope = static_cast<double>(bottom.x - top.x) / static_cast<double>(length);
  const int64_t begin = along(top.x, slope, 0), end = along(top.x, slope, length);
  for_each_middle(std::min(begin, end), std::max(begin, end), toggles->width, [&](int64_t column) {
    const int64_t middle = kFine * column + kMiddle;
    const auto crossed = [&](int64_t t) {
      const int64_t x = along(top.x, slope, t);
      return slope > 0 ? x > middle : x <= middle;
    };
    int64_t t = static_cast<int64_t>((static_cast<double>(middle - top.x) + 0.5) / slope);
    t = std::clamp<int64_t>(t, 1, length);
    while (t > 1 && crossed(t - 1)) --t;
    while (!crossed(t)) ++t;
    toggles->add(column, top.y + t - 1);
  });
}

}  // namespace polygon_detail

// Appends the runs of one closed polygon of `points` (x, y) pairs in pixels. Runs of several
// polygons appended one after the other become their union by normalise().
inline void append_polygon(const double* xy, int64_t points, int64_t height, int64_t width, Runs* runs) {
  using namespace polygon_detail;
  Toggles toggles{height, width, {}};
  for (int64_t i = 0; i < points; ++i) {
    FinePoint from = fine_point(xy + 2 * i), to = fine_point(xy + 2 * ((i + 1) % points));
    if (from.x == to.x) continue;  // crosses no column
    const bool wide = std::llabs(from.x - to.x) >= std::llabs(from.y - to.y);
    if (wide ? from.x > to.x : from.y > to.y) std::swap(from, to);
    if (wide)
      cross_columns_of_wide_edge(from, to, &toggles);
    else
      cross_columns_of_high_edge(from, to, &toggles);
  }
  std::vector<int64_t>& at = toggles.at;
  std::sort(at.begin(), at.end());
  for (size_t i = 0; i + 1 < at.size(); i += 2)  // a closed outline toggles an even number of times
    if (at[i] < at[i + 1]) runs->push_back({at[i], at[i + 1]});
}

// The frame of Mask R-CNN's targets: a box's corner at the origin, its sides `size` pixels long.
struct CropFrame {
  double x, y, x_scale, y_scale;
};

// Arithmetic in the type of the box's coordinates; sides below a tenth of a pixel count as that.
template <class T>
CropFrame crop_frame(const T* box, int64_t size) {
  const auto scale = [size](T side) {
    return side < T(0.1) ? static_cast<double>(size) / 0.1 : static_cast<double>(static_cast<T>(size) / side);
  };
  return {static_cast<double>(box[0]), static_cast<double>(box[1]), scale(box[2] - box[0]), scale(box[3] - box[1])};
}

}  // namespace d2_ops
