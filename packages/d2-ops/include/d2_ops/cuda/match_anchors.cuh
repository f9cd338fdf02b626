// match_anchors on the device, the same arithmetic as on the CPU: one thread per anchor.
#pragma once

#include <cstdint>

#include "../box_overlap.h"
#include "../match_quality.h"
#include "grid.cuh"

namespace d2_ops {

__device__ __forceinline__ void raise(int32_t* largest, int32_t key) { atomicMax(largest, key); }

__device__ __forceinline__ void raise(int64_t* largest, int64_t key) {
  // Keys are not negative, so they order as unsigned numbers too.
  atomicMax(reinterpret_cast<unsigned long long*>(largest), static_cast<unsigned long long>(key));
}

// gt_best: zeros, gets the largest key of each ground truth. Whole warps take part: anchors past the
// end count as overlapping nothing.
template <class T>
__global__ void match_anchors(const T* gt_boxes, int64_t gt_count, const T* anchors, int64_t count,
                              const MatchBins<T> bins, QualityKey<T>* gt_best, int64_t* index, int8_t* label,
                              T* quality) {
  constexpr unsigned kAll = 0xffffffffu;
  for (int64_t first = first_item() - threadIdx.x; first < count; first += item_stride()) {
    const int64_t j = first + threadIdx.x;
    const bool exists = j < count;
    const Box<T> anchor = box_of(anchors + kBoxRow * (exists ? j : 0));
    QualityKey<T> best = 0;
    int64_t best_index = 0;
    for (int64_t g = 0; g < gt_count; ++g) {
      QualityKey<T> key = exists ? quality_key(Iou::of(box_of(gt_boxes + kBoxRow * g), anchor)) : 0;
      if (key > best) {
        best = key;
        best_index = g;
      }
      if (!__any_sync(kAll, key > 0)) continue;
      for (int step = 16; step > 0; step /= 2) {
        const QualityKey<T> other = __shfl_xor_sync(kAll, key, step);
        key = other > key ? other : key;
      }
      if (threadIdx.x % 32 == 0) raise(gt_best + g, key);
    }
    if (!exists) continue;
    index[j] = best_index;
    quality[j] = quality_of<T>(best);
    label[j] = static_cast<int8_t>(bins.label(quality[j]));
  }
}

// Labels anchors that reach the largest key of a ground truth; NaN equals nothing.
template <class T>
__global__ void rescue_anchors(const T* gt_boxes, int64_t gt_count, const T* anchors, int64_t count,
                               const QualityKey<T>* gt_best, int8_t* label) {
  for (int64_t j = first_item(); j < count; j += item_stride()) {
    const Box<T> anchor = box_of(anchors + kBoxRow * j);
    for (int64_t g = 0; g < gt_count; ++g) {
      const QualityKey<T> key = quality_key(Iou::of(box_of(gt_boxes + kBoxRow * g), anchor));
      if (key != gt_best[g] || key == QualityBits<T>::kNaN) continue;
      label[j] = 1;
      break;
    }
  }
}

}  // namespace d2_ops
