// Which labels of two maps meet, and on how many pixels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "flag_bits.h"
#include "platform.h"

namespace d2_ops {

constexpr int64_t kLabelGrain = 1 << 17;

namespace label_detail {

constexpr int64_t kChunkWords = 32;  // of 64 pixels: what is read again stays close

// Marks pixels that have another label than the pixel before them.
template <class T>
D2_OPS_INLINE void mark(const T* labels, int64_t pixels, uint8_t* changed) {
  for (int64_t i = 0; i < pixels; ++i) changed[i] |= labels[i] != labels[i - 1];
}

#define D2_OPS_LABEL_CLONES(T)                                                                 \
  D2_OPS_CLONES static void mark_changes(const T* labels, int64_t pixels, uint8_t* changed) {  \
    mark(labels, pixels, changed);                                                             \
  }
D2_OPS_LABEL_CLONES(uint8_t)
D2_OPS_LABEL_CLONES(uint16_t)
D2_OPS_LABEL_CLONES(int32_t)
D2_OPS_LABEL_CLONES(int64_t)
#undef D2_OPS_LABEL_CLONES

// Writes which of 64 * words flags are set, and gives their number. How many are in a word is hard
// to foretell, so two are written without asking: `places` has room for that.
inline int64_t places_of(const uint8_t* flags, int64_t words, int32_t* places) {
  int64_t count = 0;
  for (int64_t w = 0; w < words; ++w) {
    uint64_t bits = bits_of(flags + 64 * w);
    const int32_t first = static_cast<int32_t>(64 * w);
    int32_t* at = places + count;
    do {
      for (int k = 0; k < 2; ++k) {
        *at = first + lowest_bit(bits | uint64_t{1} << 63);
        at += bits != 0;
        bits &= bits - (bits != 0);
      }
    } while (bits != 0);
    count = at - places;
  }
  return count;
}

}  // namespace label_detail

// Labels come in runs: calls f(first, second, pixels) for every stretch in which neither changes.
template <class A, class B, class F>
void for_each_label_run(const A* first, const B* second, int64_t begin, int64_t end, const F& f) {
  using namespace label_detail;
  if (begin == end) return;
  int64_t from = begin, at = begin + 1;
  const auto run_until = [&](int64_t to) {
    f(static_cast<int64_t>(first[from]), static_cast<int64_t>(second[from]), to - from);
    from = to;
  };
  while (end - at >= 64) {
    const int64_t words = std::min((end - at) / 64, kChunkWords);
    uint8_t changed[64 * kChunkWords] = {};
    int32_t places[64 * kChunkWords + 2];
    mark_changes(first + at, 64 * words, changed);
    mark_changes(second + at, 64 * words, changed);
    const int64_t count = places_of(changed, words, places);
    for (int64_t i = 0; i < count; ++i) run_until(at + places[i]);
    at += 64 * words;
  }
  for (; at < end; ++at)
    if (first[at] != first[at - 1] || second[at] != second[at - 1]) run_until(at);
  run_until(end);
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
