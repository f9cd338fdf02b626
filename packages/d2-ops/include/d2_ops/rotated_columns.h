// One rotated box against many: the many are columns, so that pairs are computed side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "rotated_box.h"

namespace d2_ops {

struct RotatedColumns {
  static constexpr int kColumns = 10;
  static constexpr int64_t kTile = 256;  // boxes compared at once: 20 KB, fits L1

  explicit RotatedColumns(int64_t n) : storage(kColumns * n), size(n) {}

  void set(int64_t i, const double* row) {
    const RotatedBox box = rotated_box(row);
    const double values[kColumns] = {box.x,           box.y,       box.cosine,  box.sine,   box.half_width,
                                     box.half_height, box.reach_x, box.reach_y, box.radius, box.area};
    for (int k = 0; k < kColumns; ++k) storage[k * size + i] = values[k];
  }

  D2_OPS_INLINE RotatedBox get(int64_t i) const {
    const double* d = storage.data() + i;
    return {d[0],        d[size],     d[2 * size], d[3 * size], d[4 * size],
            d[5 * size], d[6 * size], d[7 * size], d[8 * size], d[9 * size]};
  }

  std::vector<double> storage;
  int64_t size;
};

// IoU of a with boxes [begin, begin + count), count at most RotatedColumns::kTile.
D2_OPS_INLINE void iou_of_tile(const RotatedBox& a, const RotatedColumns& boxes, int64_t begin, int64_t count,
                               double* iou) {
  constexpr int64_t kTile = RotatedColumns::kTile;
  uint8_t near[kTile];
  for (int64_t j = 0; j < count; ++j) {
    const RotatedBox b = boxes.get(begin + j);
    near[j] = may_overlap(a, b);
    iou[j] = iou_of_disjoint(a, b);
  }
  int64_t picked[kTile], found = 0;
  for (int64_t j = 0; j < count; ++j) {
    picked[found] = j;
    found += near[j];
  }
  if (found == 0) return;
  double x[kTile], y[kTile], cosine[kTile], sine[kTile], half_width[kTile], half_height[kTile], area[kTile];
  for (int64_t k = 0; k < found; ++k) {
    const RotatedBox b = boxes.get(begin + picked[k]);
    x[k] = b.x, y[k] = b.y, cosine[k] = b.cosine, sine[k] = b.sine;
    half_width[k] = b.half_width, half_height[k] = b.half_height, area[k] = b.area;
  }
  double overlap[kTile];
  for (int64_t k = 0; k < found; ++k)
    overlap[k] = rotated_iou(a, {x[k], y[k], cosine[k], sine[k], half_width[k], half_height[k], 0, 0, 0, area[k]});
  for (int64_t k = 0; k < found; ++k) iou[picked[k]] = overlap[k];
}

}  // namespace d2_ops
