// The stairs of a binary mask spread over one pixel to either side.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "d2_ops/platform.h"

namespace d2_ops {

// How far the result reaches beyond the mask on each side: 1, or 0 where the image ends and the
// mask is taken to go on as it is.
struct Margins {
  int64_t left, top, right, bottom;
};

// 1-2-1 sums along one row: sums has left + width + right elements.
D2_OPS_INLINE void sum_row(const uint8_t* row, int64_t width, const Margins& margins, uint8_t* sums) {
  if (margins.left) *sums++ = row[0];
  if (width == 1) {
    *sums++ = static_cast<uint8_t>(row[0] * (4 - margins.left - margins.right));
  } else {
    *sums++ = static_cast<uint8_t>(row[0] * (3 - margins.left) + row[1]);
    for (int64_t x = 1; x + 1 < width; ++x) sums[x - 1] = static_cast<uint8_t>(row[x - 1] + 2 * row[x] + row[x + 1]);
    sums += width - 2;
    *sums++ = static_cast<uint8_t>(row[width - 2] + row[width - 1] * (3 - margins.right));
  }
  if (margins.right) *sums = row[width - 1];
}

// 16 would be full; 15 counts as full already, so that 15 * 17 = 255.
D2_OPS_INLINE void sum_columns(const uint8_t* above, const uint8_t* here, const uint8_t* below, int64_t width,
                               uint8_t* coverage) {
  for (int64_t x = 0; x < width; ++x) {
    const auto total = static_cast<uint8_t>(above[x] + 2 * here[x] + below[x]);
    coverage[x] = static_cast<uint8_t>((total < 15 ? total : 15) * 17);
  }
}

// `mask` holds 0 and 1; `coverage` has top + height + bottom rows of left + width + right.
// `sums` is (height + 4) * (width + 2) bytes to work in.
D2_OPS_CLONES static void soften_into(const uint8_t* mask, int64_t height, int64_t width,
                                                       const Margins& margins, uint8_t* sums, uint8_t* coverage) {
  const int64_t columns = margins.left + width + margins.right;
  uint8_t* first = sums + 2 * columns;
  for (int64_t y = 0; y < height; ++y) sum_row(mask + y * width, width, margins, first + y * columns);
  uint8_t* end = first + height * columns;
  for (int64_t i = 1; i <= 2; ++i) {
    if (margins.top)
      std::fill(first - i * columns, first - (i - 1) * columns, 0);
    else
      std::copy(first, first + columns, first - i * columns);
    if (margins.bottom)
      std::fill(end + (i - 1) * columns, end + i * columns, 0);
    else
      std::copy(end - columns, end, end + (i - 1) * columns);
  }
  const int64_t rows = margins.top + height + margins.bottom;
  for (int64_t y = 0; y < rows; ++y) {
    const uint8_t* here = first + (y - margins.top) * columns;
    sum_columns(here - columns, here, here + columns, columns, coverage + y * columns);
  }
}

// Binomial 3 x 3 average of a binary mask as coverage 0..255.
inline void soften(const uint8_t* mask, int64_t height, int64_t width, const Margins& margins, uint8_t* coverage) {
  if (height == 0 || width == 0) return;
  std::vector<uint8_t> sums((height + 4) * (width + 2));
  soften_into(mask, height, width, margins, sums.data(), coverage);
}

}  // namespace d2_ops
