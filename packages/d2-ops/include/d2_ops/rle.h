// COCO's run-length encoding: lengths of alternating runs of zeros and ones, zeros first, as
// printable text. From the third length on, the difference to the length two places before is
// stored; numbers are cut into groups of five bits, lowest first, sign-extended, with a sixth bit
// that says that more follow, and 48 added to make characters.
#pragma once

#include <cstdint>
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

// Checks lengths and sums those of ones.
inline int64_t area_of_lengths(const std::vector<int64_t>& lengths, int64_t pixels) {
  int64_t position = 0, ones = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 0 || lengths[i] > pixels - position) break;
    position += lengths[i];
    if (i % 2 == 1) ones += lengths[i];
    if (i + 1 == lengths.size() && position == pixels) return ones;
  }
  throw std::invalid_argument("run lengths do not add up to height * width");
}

inline Runs runs_of_lengths(const std::vector<int64_t>& lengths, int64_t pixels) {
  area_of_lengths(lengths, pixels);
  Runs runs;
  runs.reserve(lengths.size() / 2);
  int64_t position = 0;
  for (size_t i = 0; i < lengths.size(); position += lengths[i++])
    if (i % 2 == 1 && lengths[i] > 0) runs.push_back({position, position + lengths[i]});
  return runs;
}

inline std::string text_of_lengths(const std::vector<int64_t>& lengths) {
  std::string text;
  for (size_t i = 0; i < lengths.size(); ++i) {
    int64_t value = i > 2 ? lengths[i] - lengths[i - 2] : lengths[i];
    bool more = true;
    while (more) {
      int group = static_cast<int>(value & 0x1f);
      value >>= 5;
      more = group & 0x10 ? value != -1 : value != 0;
      if (more) group |= 0x20;
      text.push_back(static_cast<char>(group + 48));
    }
  }
  return text;
}

inline std::vector<int64_t> lengths_of_text(std::string_view text) {
  std::vector<int64_t> lengths;
  for (size_t p = 0; p < text.size();) {
    uint64_t value = 0;
    bool more = true;
    for (int shift = 0; more; shift += 5) {
      if (p == text.size() || shift > 55) throw std::invalid_argument("counts ends in the middle of a number");
      const int group = static_cast<unsigned char>(text[p++]) - 48;
      if (group < 0 || group > 0x3f) throw std::invalid_argument("counts holds a character that RLE does not use");
      value |= static_cast<uint64_t>(group & 0x1f) << shift;
      more = group & 0x20;
      if (!more && group & 0x10) value |= ~uint64_t{0} << (shift + 5);
    }
    int64_t length = static_cast<int64_t>(value);
    if (lengths.size() > 2) length += lengths[lengths.size() - 2];
    lengths.push_back(length);
  }
  return lengths;
}

}  // namespace d2_ops
