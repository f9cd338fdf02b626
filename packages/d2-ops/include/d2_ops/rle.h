// COCO's run-length encoding: lengths of alternating runs of zeros and ones, zeros first, as
// printable text. From the fourth length on, the difference to the length two places before is
// stored; numbers are cut into groups of five bits, lowest first, sign-extended, with a sixth bit
// that says that more follow, and 48 added to make characters.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runs.h"

namespace d2_ops {

inline std::vector<int64_t> lengths_of_runs(const Runs& runs, int64_t pixels) {
  std::vector<int64_t> lengths;
  lengths.reserve(2 * runs.size() + 1);
  int64_t position = 0;
  for (const Run& run : runs) {
    lengths.push_back(run.begin - position);
    lengths.push_back(run.end - run.begin);
    position = run.end;
  }
  if (position < pixels || runs.empty()) lengths.push_back(pixels - position);
  return lengths;
}

inline std::string text_of_lengths(const std::vector<int64_t>& lengths) {
  constexpr size_t kMostCharacters = 13;  // of a number: five bits each
  const std::unique_ptr<char[]> text(new char[kMostCharacters * lengths.size()]);
  char* at = text.get();
  for (size_t i = 0; i < lengths.size(); ++i) {
    int64_t value = i > 2 ? lengths[i] - lengths[i - 2] : lengths[i];
    bool more = true;
    while (more) {
      int group = static_cast<int>(value & 0x1f);
      value >>= 5;
      more = group & 0x10 ? value != -1 : value != 0;
      if (more) group |= 0x20;
      *at++ = static_cast<char>(group + 48);
    }
  }
  return {text.get(), at};
}

inline std::string text_of_runs(const Runs& runs, int64_t pixels) {
  return text_of_lengths(lengths_of_runs(runs, pixels));
}

namespace rle_detail {

[[noreturn]] inline void wrong_sum() {
  throw std::invalid_argument("run lengths do not add up to height * width");
}

// Takes one number off the front of a text that is not empty.
inline int64_t read_number(const char** at, const char* end) {
  const unsigned only = static_cast<unsigned char>(**at) - 48u;
  if (only < 0x20) {  // most numbers are one character
    ++*at;
    return static_cast<int64_t>(only ^ 0x10) - 0x10;
  }
  uint64_t value = 0;
  for (int shift = 0;; shift += 5) {
    if (*at == end || shift > 55) throw std::invalid_argument("counts ends in the middle of a number");
    const int group = static_cast<unsigned char>(*(*at)++) - 48;
    if (group < 0 || group > 0x3f) throw std::invalid_argument("counts holds a character that RLE does not use");
    value |= static_cast<uint64_t>(group & 0x1f) << shift;
    if (group & 0x20) continue;
    if (group & 0x10) value |= ~uint64_t{0} << (shift + 5);
    return static_cast<int64_t>(value);
  }
}

}  // namespace rle_detail

// Throws unless lengths are those of a mask of so many pixels.
inline void check_lengths(const std::vector<int64_t>& lengths, int64_t pixels) {
  int64_t position = 0;
  for (const int64_t length : lengths) {
    if (length < 0 || length > pixels - position) rle_detail::wrong_sum();
    position += length;
  }
  if (position != pixels) rle_detail::wrong_sum();
}

// Calls visit(begin, end) for the runs of ones, in order, none of them empty, and throws where the
// text is not that of a mask of so many pixels. Runs may touch: texts exist that hold empty runs.
template <class Visit>
void for_each_run(std::string_view text, int64_t pixels, const Visit& visit) {
  const char *at = text.data(), *const end = at + text.size();
  int64_t position = 0, zeros = 0, ones = 0;  // lengths stay within [0, pixels]: no sum overflows
  const auto check = [&](int64_t length) {
    if (length < 0 || length > pixels - position) rle_detail::wrong_sum();
  };
  for (int64_t i = 0; at != end; ++i) {
    zeros = (i > 1 ? zeros : 0) + rle_detail::read_number(&at, end);
    check(zeros);
    position += zeros;
    if (at == end) break;
    ones = (i > 0 ? ones : 0) + rle_detail::read_number(&at, end);
    check(ones);
    if (ones > 0) visit(position, position + ones);
    position += ones;
  }
  if (position != pixels) rle_detail::wrong_sum();
}

inline Runs runs_of_text(std::string_view text, int64_t pixels) {
  Runs runs;
  runs.reserve(text.size() / 3 + 1);
  for_each_run(text, pixels, [&](int64_t begin, int64_t end) {
    if (!runs.empty() && runs.back().end == begin)
      runs.back().end = end;
    else
      runs.push_back({begin, end});
  });
  return runs;
}

inline int64_t area_of_text(std::string_view text, int64_t pixels) {
  int64_t ones = 0;
  for_each_run(text, pixels, [&](int64_t begin, int64_t end) { ones += end - begin; });
  return ones;
}

}  // namespace d2_ops
