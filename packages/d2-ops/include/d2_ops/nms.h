// Greedy non-maximum suppression, within classes or across all boxes.
//
// A box is dropped when its IoU with a kept box of higher score (and of the same class) exceeds
// the threshold. IoU is inter / (area_a + area_b - inter) in the arithmetic of T, without offsets.
// A comparison with NaN is false: boxes with NaN or infinite coordinates, and pairs of empty
// boxes, neither suppress nor are suppressed. NaN scores come first, equal scores in input order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "iou_threshold.h"
#include "parallel.h"
#include "platform.h"
#include "score_order.h"

namespace d2_ops {

// Boxes as columns, in the order in which they are visited.
template <class T>
struct BoxColumns {
  explicit BoxColumns(int64_t n) : storage(5 * n), size(n) {}

  void set(int64_t i, const T* box) {
    const T width = box[2] - box[0], height = box[3] - box[1];
    T* column = storage.data() + i;
    for (int k = 0; k < 4; ++k, column += size) *column = box[k];
    *column = width * height;
  }

  const T* x1() const { return storage.data(); }
  const T* y1() const { return x1() + size; }
  const T* x2() const { return y1() + size; }
  const T* y2() const { return x2() + size; }
  const T* area() const { return y2() + size; }

  std::vector<T> storage;
  int64_t size;
};

namespace nms_detail {

constexpr int64_t kBlock = 512;  // boxes settled by one thread before all threads visit the rest
constexpr int64_t kGroup = 64;   // boxes of a block settled together
constexpr int64_t kTile = 1024;  // later boxes visited at once: 20 KB of float columns, fits L1
constexpr int64_t kPairs = 1 << 22;  // comparisons worth a thread, a millisecond: a busy machine makes us wait for it

// Marks those of boxes [begin, end) that a box of `by` suppresses.
template <class T>
D2_OPS_INLINE void suppress(const BoxColumns<T>& boxes, const int64_t* by, int64_t by_count,
                            int64_t begin, int64_t end, T threshold, uint8_t* dead) {
  const T *x1 = boxes.x1(), *y1 = boxes.y1(), *x2 = boxes.x2(), *y2 = boxes.y2();
  const T* area = boxes.area();
  for (int64_t k = 0; k < by_count; ++k) {
    const int64_t i = by[k];
    const T ax1 = x1[i], ay1 = y1[i], ax2 = x2[i], ay2 = y2[i], a_area = area[i];
    for (int64_t j = begin; j < end; ++j) {
      const T left = ax1 > x1[j] ? ax1 : x1[j], top = ay1 > y1[j] ? ay1 : y1[j];
      const T right = ax2 < x2[j] ? ax2 : x2[j], bottom = ay2 < y2[j] ? ay2 : y2[j];
      T width = right - left, height = bottom - top;
      width = width > 0 ? width : 0;
      height = height > 0 ? height : 0;
      const T inter = width * height;
      dead[j] |= static_cast<uint8_t>(inter / (a_area + area[j] - inter) > threshold);
    }
  }
}

[[maybe_unused]] D2_OPS_CLONES static void suppress_by(const BoxColumns<float>& boxes, const int64_t* by,
                                                       int64_t by_count, int64_t begin, int64_t end,
                                                       float threshold, uint8_t* dead) {
  suppress(boxes, by, by_count, begin, end, threshold, dead);
}

[[maybe_unused]] D2_OPS_CLONES static void suppress_by(const BoxColumns<double>& boxes, const int64_t* by,
                                                       int64_t by_count, int64_t begin, int64_t end,
                                                       double threshold, uint8_t* dead) {
  suppress(boxes, by, by_count, begin, end, threshold, dead);
}

// Settles boxes [begin, end) by themselves and lists those kept.
template <class T>
int64_t settle_block(const BoxColumns<T>& boxes, int64_t begin, int64_t end, T threshold, uint8_t* dead,
                     int64_t* kept) {
  int64_t count = 0;
  for (int64_t group = begin; group < end; group += kGroup) {
    const int64_t group_end = std::min(group + kGroup, end), first = count;
    for (int64_t i = group; i < group_end; ++i) {
      if (dead[i]) continue;
      kept[count++] = i;
      suppress_by(boxes, &i, 1, i + 1, group_end, threshold, dead);
    }
    suppress_by(boxes, kept + first, count - first, group_end, end, threshold, dead);
  }
  return count;
}

// Settles boxes [begin, end) of one class, best first.
template <class T, class ParallelFor>
void settle(const BoxColumns<T>& boxes, int64_t begin, int64_t end, T threshold, uint8_t* dead,
            const ParallelFor& parallel_for) {
  int64_t kept[kBlock];
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, end);
    const int64_t count = settle_block(boxes, block, block_end, threshold, dead, kept);
    if (count == 0) continue;
    parallel_for(block_end, end, std::max(kTile, kPairs / count), [&](int64_t from, int64_t to) {
      for (int64_t tile = from; tile < to; tile += kTile)
        suppress_by(boxes, kept, count, tile, std::min(tile + kTile, to), threshold, dead);
    });
  }
}

// Ranks (positions in score order) sorted by class, best first within a class.
inline std::vector<int64_t> ranks_by_class(const int64_t* classes, const std::vector<int64_t>& order) {
  struct Member {
    int64_t label, rank;
    bool operator<(const Member& o) const { return label != o.label ? label < o.label : rank < o.rank; }
  };
  std::vector<Member> members(order.size());
  for (size_t rank = 0; rank < order.size(); ++rank)
    members[rank] = {classes[order[rank]], static_cast<int64_t>(rank)};
  std::sort(members.begin(), members.end());
  std::vector<int64_t> ranks(order.size());
  std::transform(members.begin(), members.end(), ranks.begin(), [](const Member& m) { return m.rank; });
  return ranks;
}

}  // namespace nms_detail

// Indices of the kept boxes, by decreasing score. boxes: n rows of x1, y1, x2, y2; scores: n;
// classes: n labels, or null to treat all boxes as one class.
template <class T, class S, class ParallelFor>
std::vector<int64_t> nms(const T* boxes, const S* scores, const int64_t* classes, int64_t n,
                         double iou_threshold, const ParallelFor& parallel_for) {
  using namespace nms_detail;
  const std::vector<int64_t> order = order_by_score(scores, n);
  const T threshold = round_down<T>(iou_threshold);
  BoxColumns<T> columns(n);
  std::vector<uint8_t> dead(n, 0);
  std::vector<int64_t> keep;

  if (classes == nullptr) {
    for (int64_t i = 0; i < n; ++i) columns.set(i, boxes + 4 * order[i]);
    settle(columns, 0, n, threshold, dead.data(), parallel_for);
    for (int64_t i = 0; i < n; ++i)
      if (!dead[i]) keep.push_back(order[i]);
    return keep;
  }

  const std::vector<int64_t> ranks = ranks_by_class(classes, order);
  std::vector<int64_t> segments{0};  // where each class begins, and the end
  for (int64_t i = 0; i < n; ++i) {
    columns.set(i, boxes + 4 * order[ranks[i]]);
    if (i > 0 && classes[order[ranks[i]]] != classes[order[ranks[i - 1]]]) segments.push_back(i);
  }
  segments.push_back(n);

  // Large classes share the threads within, small ones are dealt out whole.
  const int64_t count = static_cast<int64_t>(segments.size()) - 1;
  const auto is_large = [&](int64_t s) { return segments[s + 1] - segments[s] > 4 * kTile; };
  for (int64_t s = 0; s < count; ++s)
    if (is_large(s)) settle(columns, segments[s], segments[s + 1], threshold, dead.data(), parallel_for);
  const int64_t grain = std::max<int64_t>(1, count * 1000 / std::max<int64_t>(n, 1));
  parallel_for(0, count, grain, [&](int64_t from, int64_t to) {
    const SerialFor serial_for;
    for (int64_t s = from; s < to; ++s)
      if (!is_large(s)) settle(columns, segments[s], segments[s + 1], threshold, dead.data(), serial_for);
  });

  std::vector<uint8_t> dropped(n);
  for (int64_t i = 0; i < n; ++i) dropped[ranks[i]] = dead[i];
  for (int64_t rank = 0; rank < n; ++rank)
    if (!dropped[rank]) keep.push_back(order[rank]);
  return keep;
}

}  // namespace d2_ops
