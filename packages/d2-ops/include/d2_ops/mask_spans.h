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
  std::vector<uint32_t> begins, ends;  // of `count` runs of set pixels, counted down the columns
  size_t count = 0;
  int64_t height = 0, width = 0, area = 0;
  int64_t left = 0, right = 0, top = 0, bottom = 0;  // half-open box of the set pixels
};

namespace mask_spans_detail {

// Reads one number of COCO's text, see rle.h.
inline int64_t read_number(const char*& at, const char* end) {
  const unsigned only = static_cast<unsigned char>(*at) - 48u;
  if (only < 0x20) {  // most numbers are one character
    ++at;
    return static_cast<int64_t>(only ^ 0x10) - 0x10;
  }
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

// Calls visit(begin, end) for every run of set pixels.
template <class Visit>
void for_each_span(std::string_view text, int64_t pixels, const Visit& visit) {
  int64_t position = 0, previous = 0, before = 0;
  const char *at = text.data(), *end = at + text.size();
  for (int64_t i = 0; at != end; ++i) {
    int64_t length = mask_spans_detail::read_number(at, end);
    if (i > 2) length += before;
    if (length < 0 || length > pixels - position)
      throw std::invalid_argument("run lengths do not add up to height * width");
    before = previous;
    previous = length;
    if (i % 2 == 1 && length > 0) visit(position, position + length);
    position += length;
  }
  if (position != pixels) throw std::invalid_argument("run lengths do not add up to height * width");
}

inline int64_t checked_pixels(int64_t height, int64_t width) {
  if (height < 0 || width < 0 || (width > 0 && height > std::numeric_limits<uint32_t>::max() / width))
    throw std::invalid_argument("image size must be positive and below 2**32 pixels");
  return height * width;
}

inline int64_t area_of_text(std::string_view text, int64_t height, int64_t width) {
  int64_t area = 0;
  for_each_span(text, checked_pixels(height, width), [&](int64_t begin, int64_t end) { area += end - begin; });
  return area;
}

// Decodes into `spans`, whose memory is used again.
inline void decode_spans(std::string_view text, int64_t height, int64_t width, MaskSpans* spans) {
  const int64_t pixels = checked_pixels(height, width);
  const size_t most = text.size() / 2 + 1;
  if (spans->begins.size() < most) {
    spans->begins.resize(most);
    spans->ends.resize(most);
  }
  uint32_t *begins = spans->begins.data(), *ends = spans->ends.data();
  size_t count = 0;
  int64_t area = 0, top = height, bottom = 0, column = 0;  // `column` begins the one looked at last
  for_each_span(text, pixels, [&](int64_t begin, int64_t end) {
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
