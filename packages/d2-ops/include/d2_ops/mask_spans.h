// A run-length encoded mask laid out for comparing it with many others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "rle.h"
#include "runs.h"

namespace d2_ops {

struct MaskSpans {
  std::vector<uint32_t> begins, ends;  // of `count` runs of set pixels, counted down the columns
  size_t count = 0;
  int64_t height = 0, width = 0, area = 0;
  int64_t left = 0, right = 0, top = 0, bottom = 0;  // half-open box of the set pixels
};

inline int64_t checked_pixels(int64_t height, int64_t width) {
  if (height < 0 || width < 0 || (width > 0 && height > std::numeric_limits<uint32_t>::max() / width))
    throw std::invalid_argument("image size must be positive and below 2**32 pixels");
  return height * width;
}

// Lays out the runs that for_each(visit) visits, at most so many, in `spans`, whose memory is used again.
template <class ForEach>
void fill_spans(int64_t height, int64_t width, size_t most, const ForEach& for_each, MaskSpans* spans) {
  if (spans->begins.size() < most) {
    spans->begins.resize(most);
    spans->ends.resize(most);
  }
  uint32_t *begins = spans->begins.data(), *ends = spans->ends.data();
  size_t count = 0;
  int64_t area = 0, top = height, bottom = 0, column = 0;  // `column` begins the one looked at last
  for_each([&](int64_t begin, int64_t end) {
    begins[count] = static_cast<uint32_t>(begin);
    ends[count++] = static_cast<uint32_t>(end);
    area += end - begin;
    if (begin >= column + height) column = begin - begin % height;
    top = std::min(top, begin - column);
    bottom = std::max(bottom, end - column);
    if (bottom > height) top = 0, bottom = height;  // runs on in the next column
  });
  spans->count = count;
  spans->height = height;
  spans->width = width;
  spans->area = area;
  spans->left = count == 0 ? 0 : begins[0] / height;
  spans->right = count == 0 ? 0 : (ends[count - 1] - 1) / height + 1;
  spans->top = count == 0 ? 0 : top;
  spans->bottom = bottom;
}

inline void decode_spans(std::string_view text, int64_t height, int64_t width, MaskSpans* spans) {
  const int64_t pixels = checked_pixels(height, width);
  fill_spans(
      height, width, text.size() / 2 + 1, [&](const auto& visit) { for_each_run(text, pixels, visit); }, spans);
}

inline MaskSpans spans_of_runs(const Runs& runs, int64_t height, int64_t width) {
  checked_pixels(height, width);
  MaskSpans spans;
  fill_spans(
      height, width, runs.size(),
      [&](const auto& visit) {
        for (const Run& run : runs) visit(run.begin, run.end);
      },
      &spans);
  return spans;
}

inline int64_t box_intersection(const MaskSpans& a, const MaskSpans& b) {
  const int64_t width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const int64_t height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

inline int64_t intersection(const MaskSpans& a, const MaskSpans& b) {
  if (a.count == 0 || b.count == 0) return 0;
  const auto first_after = [](const MaskSpans& mask, uint32_t pixel) {
    return std::upper_bound(mask.ends.data(), mask.ends.data() + mask.count, pixel) - mask.ends.data();
  };
  size_t i = first_after(a, b.begins[0]), j = first_after(b, a.begins[0]);
  int64_t common = 0;
  while (i < a.count && j < b.count) {
    const uint32_t begin = std::max(a.begins[i], b.begins[j]), a_end = a.ends[i], b_end = b.ends[j];
    const uint32_t end = std::min(a_end, b_end);
    common += end > begin ? end - begin : 0;
    i += a_end <= b_end;
    j += b_end <= a_end;
  }
  return common;
}

}  // namespace d2_ops
