// A run-length encoded mask laid out for comparing it with many others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace d2_ops {

struct MaskSpans {
  std::vector<uint32_t> begins, ends;  // of runs of set pixels, counted down the columns
  int64_t height = 0, width = 0, area = 0;
  int64_t left = 0, right = 0, top = 0, bottom = 0;  // half-open box of the set pixels
};

namespace mask_spans_detail {

// Reads one number of COCO's text, see rle.h.
inline int64_t read_number(const char*& at, const char* end) {
  uint64_t value = 0;
  for (int shift = 0; shift <= 55 && at != end; shift += 5) {
    const int group = static_cast<unsigned char>(*at++) - 48;
    if (group < 0 || group > 0x3f) throw std::invalid_argument("counts holds a character that RLE does not use");
    value |= static_cast<uint64_t>(group & 0x1f) << shift;
    if (group & 0x20) continue;
    if (group & 0x10) value |= ~uint64_t{0} << (shift + 5);
    return static_cast<int64_t>(value);
  }
  throw std::invalid_argument("counts ends in the middle of a number");
}

}  // namespace mask_spans_detail

// Decodes into `spans`, whose memory is used again.
inline void decode_spans(std::string_view text, int64_t height, int64_t width, MaskSpans* spans) {
  if (height < 0 || width < 0 || (width > 0 && height > std::numeric_limits<uint32_t>::max() / width))
    throw std::invalid_argument("image size must be positive and below 2**32 pixels");
  const int64_t pixels = height * width;
  spans->begins.clear();
  spans->ends.clear();
  spans->height = height;
  spans->width = width;
  spans->area = 0;
  int64_t top = height, bottom = 0, column = 0;  // `column` begins the column that was looked at last
  int64_t position = 0, previous = 0, before = 0;
  const char *at = text.data(), *end = at + text.size();
  for (int64_t i = 0; at != end; ++i) {
    int64_t length = mask_spans_detail::read_number(at, end);
    if (i > 2) length += before;
    if (length < 0 || length > pixels - position)
      throw std::invalid_argument("run lengths do not add up to height * width");
    before = previous;
    previous = length;
    if (i % 2 == 1 && length > 0) {
      const int64_t last = position + length;
      if (position >= column + height) column = position - position % height;
      top = std::min(top, position - column);
      bottom = std::max(bottom, last - column);
      if (bottom > height) top = 0, bottom = height;  // runs on in the next column
      spans->begins.push_back(static_cast<uint32_t>(position));
      spans->ends.push_back(static_cast<uint32_t>(last));
      spans->area += length;
    }
    position += length;
  }
  if (position != pixels) throw std::invalid_argument("run lengths do not add up to height * width");
  if (spans->area == 0) {
    spans->left = spans->right = spans->top = spans->bottom = 0;
    return;
  }
  spans->left = spans->begins.front() / height;
  spans->right = (spans->ends.back() - 1) / height + 1;
  spans->top = top;
  spans->bottom = bottom;
}

inline int64_t box_intersection(const MaskSpans& a, const MaskSpans& b) {
  const int64_t width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const int64_t height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

inline int64_t intersection(const MaskSpans& a, const MaskSpans& b) {
  if (a.area == 0 || b.area == 0) return 0;
  size_t i = std::upper_bound(a.ends.begin(), a.ends.end(), b.begins.front()) - a.ends.begin();
  size_t j = std::upper_bound(b.ends.begin(), b.ends.end(), a.begins.front()) - b.ends.begin();
  int64_t common = 0;
  while (i < a.ends.size() && j < b.ends.size()) {
    const uint32_t begin = std::max(a.begins[i], b.begins[j]), a_end = a.ends[i], b_end = b.ends[j];
    const uint32_t end = std::min(a_end, b_end);
    common += end > begin ? end - begin : 0;
    i += a_end <= b_end;
    j += b_end <= a_end;
  }
  return common;
}

}  // namespace d2_ops
