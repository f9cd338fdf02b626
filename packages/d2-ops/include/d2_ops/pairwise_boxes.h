// A measure of overlap (box_overlap.h) of all pairs of boxes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "box_tile.h"
#include "platform.h"

namespace d2_ops {
namespace pairwise_boxes_detail {

// Rows [first, end) of the result for one tile of its columns.
template <class Measure, class T>
D2_OPS_INLINE void fill(const T* boxes1, int64_t first, int64_t end, const T* boxes2, int64_t count, int64_t columns,
                        T* out) {
  BoxTile<T> tile;
  tile.load(boxes2, count);
  for (int64_t i = first; i < end; ++i) {
    const Box<T> box = box_of(boxes1 + kBoxRow * i);
    T* row = out + i * columns;
    if (has_nan(box))
      for (int64_t j = 0; j < count; ++j) row[j] = std::numeric_limits<T>::quiet_NaN();
    else
      for (int64_t j = 0; j < count; ++j) row[j] = Measure::of(box, tile[j]);
  }
}

#define D2_OPS_PAIRWISE_CLONES(Measure, T)                                                                         \
  D2_OPS_CLONES static void fill_tile(Measure, const T* boxes1, int64_t first, int64_t end,       \
                                                       const T* boxes2, int64_t count, int64_t columns, T* out) { \
    fill<Measure>(boxes1, first, end, boxes2, count, columns, out);                                               \
  }
D2_OPS_PAIRWISE_CLONES(Iou, float)
D2_OPS_PAIRWISE_CLONES(Iou, double)
D2_OPS_PAIRWISE_CLONES(Ioa, float)
D2_OPS_PAIRWISE_CLONES(Ioa, double)
D2_OPS_PAIRWISE_CLONES(Giou, float)
D2_OPS_PAIRWISE_CLONES(Giou, double)
#undef D2_OPS_PAIRWISE_CLONES

constexpr int64_t kRows = 64;        // filled from one tile before the next
constexpr int64_t kPairs = 1 << 17;  // worth a thread

}  // namespace pairwise_boxes_detail

// boxes1, boxes2: n and m rows of x1, y1, x2, y2; out: (n, m).
template <class Measure, class T, class ParallelFor>
void pairwise_boxes(Measure measure, const T* boxes1, int64_t n, const T* boxes2, int64_t m, T* out,
                    const ParallelFor& parallel_for) {
  using namespace pairwise_boxes_detail;
  const int64_t tiles = (m + BoxTile<T>::kSize - 1) / BoxTile<T>::kSize, bands = (n + kRows - 1) / kRows;
  const int64_t pairs_per_task = std::min(n, kRows) * std::min(m, BoxTile<T>::kSize);
  const int64_t grain = std::max<int64_t>(1, kPairs / std::max<int64_t>(pairs_per_task, 1));
  parallel_for(0, bands * tiles, grain, [&](int64_t from, int64_t to) {
    for (int64_t task = from; task < to; ++task) {
      const int64_t row = task / tiles * kRows, column = task % tiles * BoxTile<T>::kSize;
      fill_tile(measure, boxes1, row, std::min(row + kRows, n), boxes2 + kBoxRow * column,
                std::min(BoxTile<T>::kSize, m - column), m, out + column);
    }
  });
}

}  // namespace d2_ops
