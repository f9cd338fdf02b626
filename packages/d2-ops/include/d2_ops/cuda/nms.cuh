// Greedy non-maximum suppression on the device, in pairs of kernels without a word to the host.
//
// Boxes come sorted by class and, within a class, by decreasing score, and are settled in bands of
// as many rows as the memory is granted for. The first kernel of a band compares its rows, those that
// no earlier band dropped, with all later columns in tiles of 64 x 64 and notes in one word per row
// which columns a row would drop; tiles that share no class are skipped. The second walks each class
// with one thread block: the fate of 64 boxes is settled from the words on the diagonal, then the
// words of those kept are gathered for all later tiles in parallel. Same arithmetic as the CPU
// kernel (compile without fused multiply-add), hence the same boxes.
#pragma once

#include <cstdint>

#include "../rotated_box.h"

namespace d2_ops {

constexpr int kTile = 64;  // bits in a word

template <class T>
struct AlignedBox {
  T x1, y1, x2, y2;
};

template <class T>
__device__ bool exceeds_iou(const AlignedBox<T>& a, const AlignedBox<T>& b, T threshold) {
  const T left = a.x1 > b.x1 ? a.x1 : b.x1, top = a.y1 > b.y1 ? a.y1 : b.y1;
  const T right = a.x2 < b.x2 ? a.x2 : b.x2, bottom = a.y2 < b.y2 ? a.y2 : b.y2;
  T width = right - left, height = bottom - top;
  width = width > 0 ? width : 0;
  height = height > 0 ? height : 0;
  const T inter = width * height;
  const T area_a = (a.x2 - a.x1) * (a.y2 - a.y1), area_b = (b.x2 - b.x1) * (b.y2 - b.y1);
  return inter / (area_a + area_b - inter) > threshold;
}

static __device__ bool exceeds_iou(const RotatedBox& a, const RotatedBox& b, double threshold) {
  return (may_overlap(a, b) ? rotated_iou(a, b) : iou_of_disjoint(a, b)) > threshold;
}

// Rows of tiles settled together. Their words: one row per box, and one word per tile from `first` on.
struct NmsBand {
  int64_t first, end, tiles;  // [first, end) of all tiles

  __host__ __device__ int64_t word(int64_t box, int64_t tile) const {
    return (box - first * kTile) * (tiles - first) + tile - first;
  }
};

// Grid: (tiles - first, end - first) of kTile threads. Only words on or right of the diagonal whose tile shares a
// class are written. classes: null for a single class. dropped: one bit per box, as earlier bands left it.
template <class Box, class T>
__global__ void compare_boxes(const Box* boxes, const int64_t* classes, int64_t n, T threshold, NmsBand band,
                              const uint64_t* dropped, uint64_t* words) {
  const int64_t row_tile = band.first + blockIdx.y, column_tile = band.first + blockIdx.x;
  if (column_tile < row_tile) return;
  const int64_t row_begin = row_tile * kTile, column_begin = column_tile * kTile;
  const int rows = static_cast<int>(n - row_begin < kTile ? n - row_begin : kTile);
  const int columns = static_cast<int>(n - column_begin < kTile ? n - column_begin : kTile);
  if (classes != nullptr && classes[row_begin + rows - 1] < classes[column_begin]) return;

  __shared__ Box column_boxes[kTile];
  __shared__ int64_t column_classes[kTile];
  const int t = threadIdx.x;
  if (t < columns) {
    column_boxes[t] = boxes[column_begin + t];
    if (classes != nullptr) column_classes[t] = classes[column_begin + t];
  }
  __syncthreads();
  if (t >= rows) return;
  const int64_t row = row_begin + t;
  uint64_t word = 0;
  if (!(dropped[row_tile] >> t & 1)) {
    const Box box = boxes[row];
    for (int j = row_tile == column_tile ? t + 1 : 0; j < columns; ++j) {
      const bool same_class = classes == nullptr || classes[row] == column_classes[j];
      if (same_class && exceeds_iou(box, column_boxes[j], threshold)) word |= uint64_t{1} << j;
    }
  }
  words[band.word(row, column_tile)] = word;
}

// One past the last box of the class that begins at `begin`.
__device__ inline int64_t end_of_class(const int64_t* classes, int64_t begin, int64_t n) {
  if (classes == nullptr) return n;
  int64_t low = begin + 1, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (classes[middle] == classes[begin])
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// Settles boxes [begin, end) of a band with all threads of a block (at least kTile), and drops boxes up to the tile
// `last`, where their class ends. Other blocks may drop boxes of other classes in the same tiles.
__device__ inline void settle_class(const uint64_t* words, const int64_t* ranks, const NmsBand& band, int64_t begin,
                                    int64_t end, int64_t last, uint64_t* dropped, bool* keep) {
  __shared__ uint64_t diagonal[kTile];
  __shared__ uint64_t kept;
  const int t = threadIdx.x;
  for (int64_t tile = begin / kTile; tile <= (end - 1) / kTile; ++tile) {
    const int64_t i = tile * kTile + t;  // this thread's box, for the first kTile threads
    const bool mine = t < kTile && i >= begin && i < end;
    if (mine) diagonal[t] = words[band.word(i, tile)];
    __syncthreads();
    if (t == 0) {
      uint64_t gone = __ldcg(reinterpret_cast<const unsigned long long*>(dropped + tile)), stay = 0;
      const int from = static_cast<int>(begin > tile * kTile ? begin - tile * kTile : 0);
      const int to = static_cast<int>(end - tile * kTile < kTile ? end - tile * kTile : kTile);
      for (int k = from; k < to; ++k) {
        if (gone >> k & 1) continue;
        stay |= uint64_t{1} << k;
        gone |= diagonal[k];
      }
      kept = stay;
    }
    __syncthreads();
    const uint64_t stay = kept;
    if (mine) keep[ranks == nullptr ? i : ranks[i]] = stay >> t & 1;
    for (int64_t w = tile + 1 + t; w <= last; w += blockDim.x) {
      uint64_t gathered = 0;
      for (uint64_t rest = stay; rest != 0; rest &= rest - 1)
        gathered |= words[band.word(tile * kTile + __ffsll(static_cast<long long>(rest)) - 1, w)];
      if (gathered != 0) atomicOr(reinterpret_cast<unsigned long long*>(dropped + w), gathered);
    }
    __syncthreads();
  }
}

// Any number of blocks of kTile threads or more. keep[ranks[i]] (keep[i] where ranks is null) says whether box i stays.
static __global__ void settle_classes(const uint64_t* words, const int64_t* classes, const int64_t* ranks, int64_t n,
                                      NmsBand band, uint64_t* dropped, bool* keep) {
  const int64_t band_begin = band.first * kTile, band_end = band.end * kTile < n ? band.end * kTile : n;
  const int64_t candidates_end = classes == nullptr ? band_begin + 1 : band_end;
  for (int64_t begin = band_begin + blockIdx.x; begin < candidates_end; begin += gridDim.x) {
    if (begin > band_begin && classes[begin] == classes[begin - 1]) continue;  // not where a class begins
    const int64_t class_end = end_of_class(classes, begin, n);
    settle_class(words, ranks, band, begin, class_end < band_end ? class_end : band_end, (class_end - 1) / kTile,
                 dropped, keep);
  }
}

}  // namespace d2_ops
