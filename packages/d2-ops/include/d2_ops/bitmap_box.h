// The box around the set pixels of a bitmap. Nearly all the time goes into making sure that nothing
// is set elsewhere, so bytes are read in the order of memory, many at a time, and each at most once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "run_columns.h"

namespace d2_ops {

namespace bitmap_box_detail {

constexpr int64_t kBlock = 64;

inline bool any_of_block(const uint8_t* bytes) {
  uint64_t words[kBlock / 8], all = 0;
  std::memcpy(words, bytes, kBlock);
  for (const uint64_t word : words) all |= word;
  return all != 0;
}

// Index of the first byte that is not zero, or count.
inline int64_t first_set(const uint8_t* bytes, int64_t count) {
  int64_t i = 0;
  while (i + kBlock <= count && !any_of_block(bytes + i)) i += kBlock;
  while (i < count && bytes[i] == 0) ++i;
  return i;
}

// One past the last byte that is not zero, or 0.
inline int64_t end_of_set(const uint8_t* bytes, int64_t count) {
  int64_t i = count;
  while (i >= kBlock && !any_of_block(bytes + i - kBlock)) i -= kBlock;
  while (i > 0 && bytes[i - 1] == 0) --i;
  return i;
}

}  // namespace bitmap_box_detail

inline PixelBox box_of_bitmap(const uint8_t* mask, int64_t height, int64_t width) {
  using namespace bitmap_box_detail;
  const int64_t pixels = height * width, first = first_set(mask, pixels);
  if (first == pixels) return {};
  PixelBox box;
  box.top = first / width;
  box.bottom = (end_of_set(mask + first, pixels - first) + first - 1) / width + 1;
  box.left = first % width;
  box.right = box.left + 1;
  for (int64_t y = box.top; y < box.bottom; ++y) {
    const uint8_t* row = mask + y * width;
    box.left = std::min(box.left, first_set(row, box.left));
    box.right += end_of_set(row + box.right, width - box.right);
  }
  return box;
}

}  // namespace d2_ops
