// Overlaps of all pairs of boxes on the device, the same arithmetic as on the CPU.
#pragma once

#include <cstdint>

#include "../box_overlap.h"
#include "grid.cuh"

namespace d2_ops {

// T: arithmetic, S: type of the result. Threads along x take a column each, blocks along y share the rows.
template <class Measure, class T, class S>
__global__ void pairwise_boxes(const T* boxes1, int64_t n, const T* boxes2, int64_t m, S* out) {
  for (int64_t j = first_item(); j < m; j += item_stride()) {
    const Box<T> column = box_of(boxes2 + kBoxRow * j);
    for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
      const Box<T> row = box_of(boxes1 + kBoxRow * i);
      // NaN coordinates make the area NaN.
      out[i * m + j] = static_cast<S>(has_nan(row) ? row.area : Measure::of(row, column));
    }
  }
}

}  // namespace d2_ops
