// Binary masks as runs: half-open intervals of set pixels, counted down the columns as COCO does
// (pixel (y, x) of an image of height h is number x * h + y). Sorted, apart, never empty.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "platform.h"

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

namespace runs_detail {

D2_OPS_INLINE uint64_t load_word(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

// Calls visit(i) for every i in [0, count) at which two rows of bytes differ.
template <class Visit>
void for_each_difference(const uint8_t* a, const uint8_t* b, int64_t count, const Visit& visit) {
  constexpr int64_t kBlock = 64;
  int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    uint64_t any = 0;
    for (int64_t k = i; k < i + kBlock; k += 8) any |= load_word(a + k) ^ load_word(b + k);
    if (any == 0) continue;
    for (int64_t word = i; word < i + kBlock; word += 8) {
      if (load_word(a + word) == load_word(b + word)) continue;
      for (int64_t k = word; k < word + 8; ++k)
        if (a[k] != b[k]) visit(k);
    }
  }
  for (; i < count; ++i)
    if (a[i] != b[i]) visit(i);
}

// row[x] ^= above[x]. Words are loaded before any is stored: where rows lie beside each other, a
// compiler that asks whether they overlap may ask of all rows at once, and go byte by byte.
inline void add_row(const uint8_t* above, int64_t count, uint8_t* row) {
  constexpr int64_t kWords = 8, kBlock = 8 * kWords;
  int64_t x = 0;
  for (; x + kBlock <= count; x += kBlock) {
    uint64_t words[kWords];
    for (int64_t k = 0; k < kWords; ++k) words[k] = load_word(row + x + 8 * k) ^ load_word(above + x + 8 * k);
    std::memcpy(row + x, words, kBlock);
  }
  for (; x + 8 <= count; x += 8) {
    const uint64_t word = load_word(row + x) ^ load_word(above + x);
    std::memcpy(row + x, &word, sizeof word);
  }
  for (; x < count; ++x) row[x] ^= above[x];
}

// Every second change begins a run, every other one ends it.
inline Runs runs_between(const std::vector<int64_t>& changes, int64_t pixels) {
  Runs runs;
  runs.reserve(changes.size() / 2 + 1);
  for (size_t i = 0; i < changes.size(); i += 2)
    runs.push_back({changes[i], i + 1 < changes.size() ? changes[i + 1] : pixels});
  return runs;
}

}  // namespace runs_detail

// Runs of a row-major mask of 0 and 1: rows are compared with the row above, a word at a time, and
// the few places where a column changes are then dealt out to their columns.
inline Runs runs_of_mask(const uint8_t* mask, int64_t height, int64_t width) {
  if (height == 0 || width == 0) return {};
  struct Change {
    int64_t x, y;
  };
  std::vector<Change> found;
  std::vector<int64_t> ends(width + 1, 0);  // first counts per column, then where each column's changes end
  const auto add = [&](int64_t x, int64_t y) {
    found.push_back({x, y});
    ++ends[x + 1];
  };
  const uint8_t* last_row = mask + (height - 1) * width;
  if (mask[0]) add(0, 0);  // above the first pixel there is nothing, above other columns the one before
  for (int64_t x = 1; x < width; ++x)
    if (mask[x] != last_row[x - 1]) add(x, 0);
  for (int64_t y = 1; y < height; ++y)
    runs_detail::for_each_difference(mask + y * width, mask + (y - 1) * width, width,
                                     [&](int64_t x) { add(x, y); });
  for (int64_t x = 0; x < width; ++x) ends[x + 1] += ends[x];
  std::vector<int64_t> changes(found.size());
  for (const Change& change : found) changes[ends[change.x]++] = change.x * height + change.y;
  return runs_detail::runs_between(changes, height * width);
}

// Writes runs as a row-major mask of 0 and 1.
inline void mask_of_runs(const Runs& runs, int64_t height, int64_t width, uint8_t* mask) {
  if (height == 0 || width == 0) return;
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
  const int64_t left = runs.front().begin / height, right = (runs.back().end - 1) / height + 1;
  for (int64_t y = top + 1; y < bottom; ++y)
    runs_detail::add_row(mask + (y - 1) * width + left, right - left, mask + y * width + left);
  // A column's last mark, if at `bottom`, has done its work.
  if (bottom < height) std::memset(mask + bottom * width + left, 0, right - left);
}

inline int64_t area(const Runs& runs) {
  int64_t total = 0;
  for (const Run& run : runs) total += run.end - run.begin;
  return total;
}

}  // namespace d2_ops
