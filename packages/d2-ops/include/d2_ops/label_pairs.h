// Which labels of two maps meet, and on how many pixels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace d2_ops {

constexpr int64_t kLabelGrain = 1 << 17;

// Labels come in runs: calls f(first, second, pixels) for every stretch in which neither changes.
template <class A, class B, class F>
void for_each_label_run(const A* first, const B* second, int64_t begin, int64_t end, const F& f) {
  while (begin < end) {
    const A a = first[begin];
    const B b = second[begin];
    int64_t last = begin + 1;
    const auto differ = [&](int64_t at) { return (first[at] != a) | (second[at] != b); };
    if (last < end && !differ(last)) {
      for (bool any = false; last + 8 <= end; last += 8) {
        for (int64_t i = 0; i < 8; ++i) any |= differ(last + i);
        if (any) break;
      }
      while (last < end && !differ(last)) ++last;
    }
    f(static_cast<int64_t>(a), static_cast<int64_t>(b), last - begin);
    begin = last;
  }
}

struct LabelPair {
  int64_t first, second, pixels;
};

// A hash table of pairs.
class LabelPairs {
 public:
  void add(int64_t first, int64_t second, int64_t pixels) {
    if (2 * (pairs_.size() + 1) > slots_.size()) grow();
    uint32_t& slot = slots_[slot_of(first, second)];
    if (slot == 0) {
      pairs_.push_back({first, second, 0});
      slot = static_cast<uint32_t>(pairs_.size());
    }
    pairs_[slot - 1].pixels += pixels;
  }

  const std::vector<LabelPair>& pairs() const { return pairs_; }

  std::vector<LabelPair> sorted() && {
    std::sort(pairs_.begin(), pairs_.end(), [](const LabelPair& a, const LabelPair& b) {
      return a.first != b.first ? a.first < b.first : a.second < b.second;
    });
    return std::move(pairs_);
  }

 private:
  // Where a pair is, or the free slot where it belongs.
  size_t slot_of(int64_t first, int64_t second) const {
    uint64_t hash = static_cast<uint64_t>(first) * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(second);
    hash *= 0xbf58476d1ce4e5b9u;
    size_t slot = (hash ^ hash >> 32) & (slots_.size() - 1);
    while (slots_[slot] != 0) {
      const LabelPair& pair = pairs_[slots_[slot] - 1];
      if (pair.first == first && pair.second == second) break;
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  }

  void grow() {
    slots_.assign(std::max<size_t>(256, 2 * slots_.size()), 0);
    for (size_t i = 0; i < pairs_.size(); ++i)
      slots_[slot_of(pairs_[i].first, pairs_[i].second)] = static_cast<uint32_t>(i + 1);
  }

  std::vector<LabelPair> pairs_;
  std::vector<uint32_t> slots_;  // 1 + index in pairs_, 0 where free; a power of two of them
};

// The pairs by first and second label.
template <class A, class B, class ParallelFor>
std::vector<LabelPair> count_label_pairs(const A* first, const B* second, int64_t pixels,
                                         const ParallelFor& parallel_for) {
  LabelPairs all;
  std::mutex guard;
  parallel_for(0, pixels, kLabelGrain, [&](int64_t begin, int64_t end) {
    LabelPairs found;
    for_each_label_run(first, second, begin, end,
                       [&](int64_t a, int64_t b, int64_t count) { found.add(a, b, count); });
    const std::lock_guard<std::mutex> lock(guard);
    for (const LabelPair& pair : found.pairs()) all.add(pair.first, pair.second, pair.pixels);
  });
  return std::move(all).sorted();
}

// Where both labels of a pixel are classes; anything goes where the second is the one to ignore.
struct LabelClasses {
  int64_t count;
  bool has_ignored;
  int64_t ignored;
};

// Adds to counts[first * classes + second]. Gives the position of the first pixel with a label out
// of range, or -1; then counts are of no use.
template <class A, class B, class ParallelFor>
int64_t add_confusion(const A* first, const B* second, int64_t pixels, const LabelClasses& classes, int64_t* counts,
                      const ParallelFor& parallel_for) {
  std::mutex guard;
  int64_t bad = pixels;
  const uint64_t n = static_cast<uint64_t>(classes.count);
  parallel_for(0, pixels, std::max(kLabelGrain, classes.count * classes.count), [&](int64_t begin, int64_t end) {
    std::vector<int64_t> found(n * n, 0);
    int64_t at = begin, wrong = pixels;
    for_each_label_run(first, second, begin, end, [&](int64_t a, int64_t b, int64_t count) {
      const int64_t here = at;
      at += count;
      if (classes.has_ignored && b == classes.ignored) return;
      if (static_cast<uint64_t>(a) < n && static_cast<uint64_t>(b) < n)
        found[a * n + b] += count;
      else
        wrong = std::min(wrong, here);
    });
    const std::lock_guard<std::mutex> lock(guard);
    bad = std::min(bad, wrong);
    for (uint64_t i = 0; i < n * n; ++i) counts[i] += found[i];
  });
  return bad == pixels ? -1 : bad;
}

}  // namespace d2_ops
