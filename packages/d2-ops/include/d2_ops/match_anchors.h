// Assignment of anchors to ground truth by IoU, without a matrix of IoUs.
//
// Every anchor gets the ground truth that it overlaps most, the first of equals, and a label by
// the thresholds which that overlap reaches. With low-quality matches an anchor also gets label 1
// if some ground truth is overlapped as much by no other. Results are those of the matrix.
//
// Anchors come in the order of their positions, so most tiles of them are far from most ground
// truth: one look at a box around the tile settles that.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "box_tile.h"
#include "match_quality.h"
#include "platform.h"

namespace d2_ops {

// What is found for N anchors.
template <class T>
struct AnchorMatches {
  int64_t* index;
  int8_t* label;
  T* quality;
};

namespace match_anchors_detail {

constexpr int64_t kTile = 256;

template <class T>
struct AnchorTile {
  BoxTile<T, kTile> boxes;
  Box<T> around;  // all of them
  bool finite;
  int64_t count;
};

template <class T>
D2_OPS_INLINE void load(const T* anchors, int64_t count, AnchorTile<T>* tile) {
  tile->boxes.load(anchors, count);
  tile->count = count;
  Box<T> around = box_of(anchors);
  int infinite = 0;
  for (int64_t j = 0; j < count; ++j) {
    const Box<T> box = tile->boxes[j];
    around.x1 = box.x1 < around.x1 ? box.x1 : around.x1;
    around.y1 = box.y1 < around.y1 ? box.y1 : around.y1;
    around.x2 = box.x2 > around.x2 ? box.x2 : around.x2;
    around.y2 = box.y2 > around.y2 ? box.y2 : around.y2;
    infinite |= !(box.area - box.area == T(0));
  }
  tile->around = around;
  tile->finite = infinite == 0;
}

// Whether the box overlaps none of the tile, every IoU being 0 and not NaN.
template <class T>
D2_OPS_INLINE bool misses(const Box<T>& box, const AnchorTile<T>& tile) {
  const Box<T>& around = tile.around;
  const bool apart =
      around.x1 >= box.x2 || around.x2 <= box.x1 || around.y1 >= box.y2 || around.y2 <= box.y1;
  return apart && tile.finite && box.area - box.area == T(0);
}

// Matches one tile and raises gt_best, the largest key of each ground truth.
template <class T>
D2_OPS_INLINE void match(const T* gt_boxes, int64_t gt_count, const T* anchors, int64_t count,
                         const MatchBins<T>& bins, QualityKey<T>* gt_best, const AnchorMatches<T>& out) {
  using Key = QualityKey<T>;
  AnchorTile<T> tile;
  load(anchors, count, &tile);
  Key best[kTile] = {};
  Key index[kTile] = {};
  for (int64_t g = 0; g < gt_count; ++g) {
    const Box<T> box = box_of(gt_boxes + kBoxRow * g);
    if (misses(box, tile)) continue;
    Key most = gt_best[g];
    for (int64_t j = 0; j < count; ++j) {
      const Key key = quality_key(Iou::of(box, tile.boxes[j]));
      index[j] = key > best[j] ? static_cast<Key>(g) : index[j];
      best[j] = key > best[j] ? key : best[j];
      most = key > most ? key : most;
    }
    gt_best[g] = most;
  }
  for (int64_t j = 0; j < count; ++j) {
    const T quality = quality_of<T>(best[j]);
    out.index[j] = index[j];
    out.quality[j] = quality;
    out.label[j] = static_cast<int8_t>(bins.label(quality));
  }
}

// Labels the anchors of one tile that reach the largest key of a ground truth.
template <class T>
D2_OPS_INLINE void rescue(const T* gt_boxes, const std::vector<int64_t>& gts, const QualityKey<T>* gt_best,
                          const T* anchors, int64_t count, int8_t* label) {
  AnchorTile<T> tile;
  load(anchors, count, &tile);
  for (const int64_t g : gts) {
    const Box<T> box = box_of(gt_boxes + kBoxRow * g);
    const QualityKey<T> best = gt_best[g];
    if (best > 0 && misses(box, tile)) continue;
    for (int64_t j = 0; j < count; ++j)
      label[j] = quality_key(Iou::of(box, tile.boxes[j])) == best ? int8_t(1) : label[j];
  }
}

#define D2_OPS_MATCH_CLONES(T)                                                                                    \
  D2_OPS_CLONES static void match_tile(const T* gt_boxes, int64_t gt_count, const T* anchors,    \
                                                        int64_t count, const MatchBins<T>& bins,                  \
                                                        QualityKey<T>* gt_best, const AnchorMatches<T>& out) {    \
    match(gt_boxes, gt_count, anchors, count, bins, gt_best, out);                                                \
  }                                                                                                               \
  D2_OPS_CLONES static void rescue_tile(const T* gt_boxes, const std::vector<int64_t>& gts,      \
                                                         const QualityKey<T>* gt_best, const T* anchors,          \
                                                         int64_t count, int8_t* label) {                          \
    rescue(gt_boxes, gts, gt_best, anchors, count, label);                                                        \
  }
D2_OPS_MATCH_CLONES(float)
D2_OPS_MATCH_CLONES(double)
#undef D2_OPS_MATCH_CLONES

constexpr int64_t kMostChunks = 64;    // of anchors; each knows the best of every ground truth
constexpr int64_t kPairs = 1 << 18;    // worth a thread

}  // namespace match_anchors_detail

// gt_boxes, anchors: gt_count > 0 and anchor_count rows of x1, y1, x2, y2.
template <class T, class ParallelFor>
void match_anchors(const T* gt_boxes, int64_t gt_count, const T* anchors, int64_t anchor_count,
                   const MatchBins<T>& bins, bool allow_low_quality_matches, const AnchorMatches<T>& out,
                   const ParallelFor& parallel_for) {
  using namespace match_anchors_detail;
  using Key = QualityKey<T>;
  const int64_t tiles = (anchor_count + kTile - 1) / kTile;
  const int64_t tiles_per_chunk = (tiles + kMostChunks - 1) / kMostChunks;
  if (tiles == 0) return;
  const int64_t chunks = (tiles + tiles_per_chunk - 1) / tiles_per_chunk;
  const int64_t grain = std::max<int64_t>(1, kPairs / (tiles_per_chunk * kTile * gt_count));
  const auto for_each_tile = [&](int64_t chunk, const auto& visit) {
    const int64_t end = std::min((chunk + 1) * tiles_per_chunk * kTile, anchor_count);
    for (int64_t j = chunk * tiles_per_chunk * kTile; j < end; j += kTile) visit(j, std::min(kTile, end - j));
  };

  std::vector<Key> best_in_chunk(chunks * gt_count, 0);
  parallel_for(0, chunks, grain, [&](int64_t from, int64_t to) {
    for (int64_t chunk = from; chunk < to; ++chunk)
      for_each_tile(chunk, [&](int64_t j, int64_t count) {
        match_tile(gt_boxes, gt_count, anchors + kBoxRow * j, count, bins, best_in_chunk.data() + chunk * gt_count,
                   {out.index + j, out.label + j, out.quality + j});
      });
  });
  if (!allow_low_quality_matches) return;

  std::vector<Key> best(gt_count, 0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    for (int64_t g = 0; g < gt_count; ++g) best[g] = std::max(best[g], best_in_chunk[chunk * gt_count + g]);
  parallel_for(0, chunks, grain, [&](int64_t from, int64_t to) {
    std::vector<int64_t> gts;  // whose best is in the chunk
    for (int64_t chunk = from; chunk < to; ++chunk) {
      gts.clear();
      for (int64_t g = 0; g < gt_count; ++g)
        // NaN equals nothing.
        if (best_in_chunk[chunk * gt_count + g] == best[g] && best[g] != QualityBits<T>::kNaN) gts.push_back(g);
      if (gts.empty()) continue;
      for_each_tile(chunk, [&](int64_t j, int64_t count) {
        rescue_tile(gt_boxes, gts, best.data(), anchors + kBoxRow * j, count, out.label + j);
      });
    }
  });
}

}  // namespace d2_ops
