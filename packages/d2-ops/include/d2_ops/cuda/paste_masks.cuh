// Pasting masks on the device: one thread per four bytes of the result.
#pragma once

#include <cstdint>

#include "../paste_geometry.h"
#include "grid.cuh"

namespace d2_ops {

struct PasteShape {
  int64_t count, mask_height, mask_width, height, width;
};

template <class S, class T>
__device__ T sample_row(const S* mask, int64_t padded_row, const PasteShape& shape, const CellPair<T>& columns) {
  if (padded_row < 1 || padded_row > shape.mask_height) return T(0);
  const S* row = mask + (padded_row - 1) * shape.mask_width;
  const T low = columns.low >= 1 ? static_cast<T>(row[columns.low - 1]) * columns.low_weight : T(0);
  const T high = columns.low < shape.mask_width ? static_cast<T>(row[columns.low]) * columns.high_weight : T(0);
  return low + high;
}

template <class S, class T>
__device__ uint8_t pasted_byte(const S* mask, const T* box, const PasteShape& shape, int64_t y, int64_t x,
                               T threshold) {
  const PixelRange columns = pasted_range(box[0], box[2], shape.width);
  const PixelRange rows = pasted_range(box[1], box[3], shape.height);
  if (x < columns.first || x >= columns.end || y < rows.first || y >= rows.end) return 0;
  const CellPair<T> cells_x = cell_pair(x, box[0], box[2], shape.mask_width);
  const CellPair<T> cells_y = cell_pair(y, box[1], box[3], shape.mask_height);
  const T upper = sample_row(mask, cells_y.low, shape, cells_x);
  const T lower = sample_row(mask, cells_y.low + 1, shape, cells_x);
  return mask_byte(upper * cells_y.low_weight + lower * cells_y.high_weight, threshold);
}

// out: count * height * width bytes, aligned to four. The mask is not empty.
template <class S, class T>
__global__ void paste_masks(const S* masks, const T* boxes, PasteShape shape, T threshold, uint8_t* out) {
  const int64_t bytes = shape.count * shape.height * shape.width;
  for (int64_t item = first_item(); 4 * item < bytes; item += item_stride()) {
    int64_t x = 4 * item % shape.width, y = 4 * item / shape.width % shape.height;
    int64_t n = 4 * item / (shape.width * shape.height);
    uint8_t result[4] = {0, 0, 0, 0};
    const int filled = static_cast<int>(bytes - 4 * item < 4 ? bytes - 4 * item : 4);
    for (int k = 0; k < filled; ++k) {
      result[k] = pasted_byte(masks + n * shape.mask_height * shape.mask_width, boxes + 4 * n, shape, y, x, threshold);
      if (++x < shape.width) continue;
      x = 0;
      if (++y < shape.height) continue;
      y = 0;
      ++n;
    }
    if (filled == 4) {
      const uint32_t packed = result[0] | result[1] << 8 | result[2] << 16 | static_cast<uint32_t>(result[3]) << 24;
      *reinterpret_cast<uint32_t*>(out + 4 * item) = packed;
    } else {
      for (int k = 0; k < filled; ++k) out[4 * item + k] = result[k];
    }
  }
}

}  // namespace d2_ops
