// Binary masks as runs: half-open intervals of set pixels, counted down the columns as COCO does
// (pixel (y, x) of an image of height h is number x * h + y). Sorted, apart, never empty.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace d2_ops {

struct Run {
  int64_t begin, end;
};

using Runs = std::vector<Run>;

// Sorts runs and joins those that overlap or touch.
inline void normalise(Runs* runs) {
  std::sort(runs->begin(), runs->end(), [](const Run& a, const Run& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (const Run& run : *runs) {
    if (kept > 0 && run.begin <= (*runs)[kept - 1].end)
      (*runs)[kept - 1].end = std::max((*runs)[kept - 1].end, run.end);
    else
      (*runs)[kept++] = run;
  }
  runs->resize(kept);
}

// Runs of a row-major mask; any byte other than 0 is set.
inline Runs runs_of_mask(const uint8_t* mask, int64_t height, int64_t width) {
  constexpr int64_t kStrip = 64;  // columns transposed together, one cache line
  Runs runs;
  std::vector<uint8_t> strip(kStrip * height);
  bool inside = false;
  for (int64_t first = 0; first < width; first += kStrip) {
    const int64_t count = std::min(kStrip, width - first);
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < count; ++x) strip[x * height + y] = mask[y * width + first + x];
    const int64_t origin = first * height;
    for (int64_t i = 0; i < count * height; ++i) {
      const bool set = strip[i] != 0;
      if (set == inside) continue;
      if (set)
        runs.push_back({origin + i, 0});
      else
        runs.back().end = origin + i;
      inside = set;
    }
  }
  if (inside) runs.back().end = height * width;
  return runs;
}

// Writes runs as a row-major mask of 0 and 1.
inline void mask_of_runs(const Runs& runs, int64_t height, int64_t width, uint8_t* mask) {
  std::memset(mask, 0, height * width);
  if (runs.empty()) return;
  // Mark where a column changes, then sum down the columns, a whole row at a time.
  int64_t top = height, bottom = 0;
  for (const Run& run : runs) {
    for (int64_t begin = run.begin; begin < run.end;) {
      const int64_t x = begin / height, y = begin % height;
      const int64_t length = std::min(run.end - begin, height - y);
      mask[y * width + x] ^= 1;
      if (y + length < height) mask[(y + length) * width + x] ^= 1;
      top = std::min(top, y);
      bottom = std::max(bottom, y + length);
      begin += length;
    }
  }
  for (int64_t y = top + 1; y < bottom; ++y) {
    const uint8_t* above = mask + (y - 1) * width;
    uint8_t* row = mask + y * width;
    for (int64_t x = 0; x < width; ++x) row[x] ^= above[x];
  }
  // A column's last mark, if at `bottom`, has done its work.
  if (bottom < height) std::memset(mask + bottom * width, 0, width);
}

inline int64_t area(const Runs& runs) {
  int64_t total = 0;
  for (const Run& run : runs) total += run.end - run.begin;
  return total;
}

}  // namespace d2_ops
