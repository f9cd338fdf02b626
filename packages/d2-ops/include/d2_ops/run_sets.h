// Masks as sets of pixels: union, intersection, difference, on runs alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "runs.h"

namespace d2_ops {

inline Runs union_of(const Runs& a, const Runs& b) {
  Runs result;
  result.reserve(a.size() + b.size());
  for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    const Run& next = j == b.size() || (i < a.size() && a[i].begin < b[j].begin) ? a[i++] : b[j++];
    if (!result.empty() && next.begin <= result.back().end)
      result.back().end = std::max(result.back().end, next.end);
    else
      result.push_back(next);
  }
  return result;
}

inline Runs intersection_of(const Runs& a, const Runs& b) {
  Runs result;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const int64_t begin = std::max(a[i].begin, b[j].begin), end = std::min(a[i].end, b[j].end);
    if (begin < end) result.push_back({begin, end});
    a[i].end < b[j].end ? ++i : ++j;
  }
  return result;
}

// The pixels of `whole` that are not of `part`, all of which must be of `whole`.
inline Runs without(const Runs& whole, const Runs& part) {
  Runs result;
  result.reserve(whole.size() + part.size());
  size_t j = 0;
  for (const Run& run : whole) {
    int64_t begin = run.begin;
    for (; j < part.size() && part[j].begin < run.end; ++j) {
      if (begin < part[j].begin) result.push_back({begin, part[j].begin});
      begin = part[j].end;
    }
    if (begin < run.end) result.push_back({begin, run.end});
  }
  return result;
}

// Union or intersection of any number of masks, neighbours first. None gives the empty mask.
inline Runs merge_runs(std::vector<Runs> masks, bool intersect) {
  if (masks.empty()) return {};
  for (size_t step = 1; step < masks.size(); step *= 2)
    for (size_t i = 0; i + step < masks.size(); i += 2 * step)
      masks[i] = intersect ? intersection_of(masks[i], masks[i + step]) : union_of(masks[i], masks[i + step]);
  return std::move(masks.front());
}

}  // namespace d2_ops
