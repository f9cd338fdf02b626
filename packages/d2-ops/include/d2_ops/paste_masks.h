// Pastes soft masks of a fixed size into their boxes and thresholds them, in one pass.
//
// A pixel is sampled at its centre: the box is stretched over the mask, whose cells hold their
// values at their centres, with zeros around. Only pixels of the box and one pixel around it are
// written; the rest of the image is zero. A box that is empty or not finite pastes nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "paste_geometry.h"
#include "platform.h"

namespace d2_ops {

namespace paste_masks_detail {

template <class T>
D2_OPS_INLINE void blend_rows(const T* upper, const T* lower, T upper_weight, T lower_weight, int64_t count,
                              T threshold, uint8_t* out) {
  if (threshold >= T(0)) {
    for (int64_t x = 0; x < count; ++x)
      out[x] = static_cast<uint8_t>(upper[x] * upper_weight + lower[x] * lower_weight >= threshold);
  } else {
    for (int64_t x = 0; x < count; ++x)
      out[x] = mask_byte(upper[x] * upper_weight + lower[x] * lower_weight, threshold);
  }
}

D2_OPS_CLONES static void write_row(const float* upper, const float* lower, float upper_weight,
                                                     float lower_weight, int64_t count, float threshold,
                                                     uint8_t* out) {
  blend_rows(upper, lower, upper_weight, lower_weight, count, threshold, out);
}

D2_OPS_CLONES static void write_row(const double* upper, const double* lower, double upper_weight,
                                                     double lower_weight, int64_t count, double threshold,
                                                     uint8_t* out) {
  blend_rows(upper, lower, upper_weight, lower_weight, count, threshold, out);
}

// The mask resampled along x for the pixels of a range: (mask_height + 2) rows, zeros around.
template <class T>
void resample_columns(const T* mask, int64_t mask_height, int64_t mask_width, T x1, T x2, PixelRange columns,
                      std::vector<T>* stretched) {
  const int64_t count = columns.end - columns.first;
  stretched->assign((mask_height + 2) * count, T(0));
  for (int64_t x = 0; x < count; ++x) {
    const CellPair<T> pair = cell_pair(columns.first + x, x1, x2, mask_width);
    const bool has_low = pair.low >= 1, has_high = pair.low < mask_width;
    for (int64_t y = 0; y < mask_height; ++y) {
      const T* row = mask + y * mask_width;
      const T low = has_low ? row[pair.low - 1] * pair.low_weight : T(0);
      const T high = has_high ? row[pair.low] * pair.high_weight : T(0);
      (*stretched)[(y + 1) * count + x] = low + high;
    }
  }
}

}  // namespace paste_masks_detail

// masks: (count, mask_height, mask_width); boxes: count rows of x1, y1, x2, y2 in pixels;
// out: (count, height, width) bytes, all of them written.
template <class T, class ParallelFor>
void paste_masks(const T* masks, const T* boxes, int64_t count, int64_t mask_height, int64_t mask_width,
                 int64_t height, int64_t width, double threshold, uint8_t* out, const ParallelFor& parallel_for) {
  using namespace paste_masks_detail;
  if (height == 0 || width == 0) return;
  parallel_for(0, count, 1, [&](int64_t from, int64_t to) {
    std::vector<T> stretched;
    for (int64_t n = from; n < to; ++n) {
      const T* box = boxes + 4 * n;
      uint8_t* image = out + n * height * width;
      const PixelRange columns = pasted_range(box[0], box[2], width);
      const PixelRange rows = pasted_range(box[1], box[3], height);
      const int64_t row_length = columns.end - columns.first;
      if (row_length == 0 || rows.first == rows.end || mask_height == 0 || mask_width == 0) {
        std::memset(image, 0, height * width);
        continue;
      }
      resample_columns(masks + n * mask_height * mask_width, mask_height, mask_width, box[0], box[2], columns,
                       &stretched);
      std::memset(image, 0, rows.first * width);
      for (int64_t y = rows.first; y < rows.end; ++y) {
        uint8_t* row = image + y * width;
        const CellPair<T> pair = cell_pair(y, box[1], box[3], mask_height);
        const T* upper = stretched.data() + pair.low * row_length;
        std::memset(row, 0, columns.first);
        write_row(upper, upper + row_length, pair.low_weight, pair.high_weight, row_length,
                  static_cast<T>(threshold), row + columns.first);
        std::memset(row + columns.end, 0, width - columns.end);
      }
      std::memset(image + rows.end * width, 0, (height - rows.end) * width);
    }
  });
}

}  // namespace d2_ops
