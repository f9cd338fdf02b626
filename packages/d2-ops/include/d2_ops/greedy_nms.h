// Greedy non-maximum suppression, whatever the boxes are.
//
// Boxes are held in columns, in the order in which they are visited, by a type with
//   Value                 the arithmetic of the threshold
//   kRow, kPairs          numbers per box; comparisons worth a thread
//   Columns(n), set(i, row)
//   suppress(by, by_count, begin, end, threshold, dead)
//                         marks those of boxes [begin, end) that a box of `by` suppresses
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "iou_threshold.h"
#include "parallel.h"
#include "radix_sort.h"
#include "score_order.h"

namespace d2_ops {
namespace nms_detail {

constexpr int64_t kBlock = 512;  // boxes settled by one thread before all threads visit the rest
constexpr int64_t kGroup = 64;   // boxes of a block settled together
constexpr int64_t kTile = 1024;  // later boxes visited at once: 20 KB of float columns, fits L1

// Settles boxes [begin, end) by themselves and lists those kept.
template <class Columns>
int64_t settle_block(const Columns& boxes, int64_t begin, int64_t end, typename Columns::Value threshold,
                     uint8_t* dead, int64_t* kept) {
  int64_t count = 0;
  for (int64_t group = begin; group < end; group += kGroup) {
    const int64_t group_end = std::min(group + kGroup, end), first = count;
    for (int64_t i = group; i < group_end; ++i) {
      if (dead[i]) continue;
      kept[count++] = i;
      boxes.suppress(&i, 1, i + 1, group_end, threshold, dead);
    }
    boxes.suppress(kept + first, count - first, group_end, end, threshold, dead);
  }
  return count;
}

// Settles boxes [begin, end) of one class, best first.
template <class Columns, class ParallelFor>
void settle(const Columns& boxes, int64_t begin, int64_t end, typename Columns::Value threshold, uint8_t* dead,
            const ParallelFor& parallel_for) {
  int64_t kept[kBlock];
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, end);
    const int64_t count = settle_block(boxes, block, block_end, threshold, dead, kept);
    if (count == 0) continue;
    parallel_for(block_end, end, std::max(kTile, Columns::kPairs / count), [&](int64_t from, int64_t to) {
      for (int64_t tile = from; tile < to; tile += kTile)
        boxes.suppress(kept, count, tile, std::min(tile + kTile, to), threshold, dead);
    });
  }
}

// Ranks (positions in score order) sorted by class, best first within a class.
inline std::vector<int64_t> ranks_by_class(const int64_t* classes, const std::vector<int64_t>& order) {
  struct Member {
    uint64_t key;  // sorts as the label does
    int64_t rank;
  };
  std::vector<Member> members(order.size());
  for (size_t rank = 0; rank < order.size(); ++rank)
    members[rank] = {static_cast<uint64_t>(classes[order[rank]]) ^ uint64_t(1) << 63, static_cast<int64_t>(rank)};
  radix_sort(&members);
  std::vector<int64_t> ranks(order.size());
  std::transform(members.begin(), members.end(), ranks.begin(), [](const Member& m) { return m.rank; });
  return ranks;
}

}  // namespace nms_detail

// All boxes by decreasing score, and whether each of them, in that order, is dropped.
struct Suppression {
  std::vector<int64_t> order;
  std::vector<uint8_t> dropped;
};

// boxes: n rows; scores: n; classes: n labels, or null to treat all boxes as one class.
template <class Columns, class T, class S, class ParallelFor>
Suppression suppress_greedily(const T* boxes, const S* scores, const int64_t* classes, int64_t n, double iou_threshold,
                              const ParallelFor& parallel_for) {
  using namespace nms_detail;
  std::vector<int64_t> order = order_by_score(scores, n);
  const auto threshold = round_down<typename Columns::Value>(iou_threshold);
  Columns columns(n);
  std::vector<uint8_t> dead(n, 0);

  if (classes == nullptr) {
    for (int64_t i = 0; i < n; ++i) columns.set(i, boxes + Columns::kRow * order[i]);
    settle(columns, 0, n, threshold, dead.data(), parallel_for);
    return {std::move(order), std::move(dead)};
  }

  const std::vector<int64_t> ranks = ranks_by_class(classes, order);
  std::vector<int64_t> segments{0};  // where each class begins, and the end
  for (int64_t i = 0; i < n; ++i) {
    columns.set(i, boxes + Columns::kRow * order[ranks[i]]);
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
  return {std::move(order), std::move(dropped)};
}

// Indices of the kept boxes, by decreasing score.
inline std::vector<int64_t> kept_of(const Suppression& all) {
  std::vector<int64_t> kept;
  for (size_t rank = 0; rank < all.order.size(); ++rank)
    if (!all.dropped[rank]) kept.push_back(all.order[rank]);
  return kept;
}

}  // namespace d2_ops
