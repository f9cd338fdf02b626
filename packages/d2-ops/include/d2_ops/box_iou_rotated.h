// IoU of all pairs of rotated boxes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "platform.h"
#include "rotated_columns.h"

namespace d2_ops {
namespace box_iou_rotated_detail {

template <class T>
D2_OPS_INLINE void fill(const double* row, const RotatedColumns& boxes2, T* iou) {
  const RotatedBox box = rotated_box(row);
  double tile[RotatedColumns::kTile];
  for (int64_t begin = 0; begin < boxes2.size; begin += RotatedColumns::kTile) {
    const int64_t count = std::min(RotatedColumns::kTile, boxes2.size - begin);
    iou_of_tile(box, boxes2, begin, count, tile);
    for (int64_t j = 0; j < count; ++j) iou[begin + j] = static_cast<T>(tile[j]);
  }
}

D2_OPS_CLONES static void fill_row(const double* row, const RotatedColumns& boxes2, float* iou) {
  fill(row, boxes2, iou);
}

D2_OPS_CLONES static void fill_row(const double* row, const RotatedColumns& boxes2, double* iou) {
  fill(row, boxes2, iou);
}

constexpr int64_t kPairs = 1 << 16;  // pairs worth a thread

}  // namespace box_iou_rotated_detail

// boxes1, boxes2: n and m rows of centre x, centre y, width, height and degrees counter-clockwise;
// iou: (n, m). Boxes without area overlap nothing; a box that is not finite gives NaN.
template <class T, class ParallelFor>
void box_iou_rotated(const double* boxes1, int64_t n, const double* boxes2, int64_t m, T* iou,
                     const ParallelFor& parallel_for) {
  using namespace box_iou_rotated_detail;
  RotatedColumns columns(m);
  for (int64_t j = 0; j < m; ++j) columns.set(j, boxes2 + kRotatedBoxRow * j);
  parallel_for(0, n, std::max<int64_t>(1, kPairs / std::max<int64_t>(m, 1)), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) fill_row(boxes1 + kRotatedBoxRow * i, columns, iou + i * m);
  });
}

}  // namespace d2_ops
