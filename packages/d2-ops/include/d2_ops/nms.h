// Greedy non-maximum suppression, within classes or across all boxes.
//
// A box is dropped when its IoU with a kept box of higher score (and of the same class) exceeds
// the threshold. IoU is inter / (area_a + area_b - inter) in the arithmetic of T, without offsets.
// A comparison with NaN is false: boxes with NaN or infinite coordinates, and pairs of empty
// boxes, neither suppress nor are suppressed. NaN scores come first, equal scores in input order.
#pragma once

#include <cstdint>
#include <vector>

#include "greedy_nms.h"
#include "platform.h"

namespace d2_ops {

// Boxes as columns, in the order in which they are visited.
template <class T>
struct BoxColumns {
  using Value = T;
  static constexpr int64_t kRow = 4;
  static constexpr int64_t kPairs = 1 << 22;  // a millisecond: a busy machine makes us wait for threads

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

  void suppress(const int64_t* by, int64_t by_count, int64_t begin, int64_t end, T threshold, uint8_t* dead) const;

  std::vector<T> storage;
  int64_t size;
};

namespace nms_detail {

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

D2_OPS_CLONES static void suppress_by(const BoxColumns<float>& boxes, const int64_t* by,
                                                       int64_t by_count, int64_t begin, int64_t end,
                                                       float threshold, uint8_t* dead) {
  suppress(boxes, by, by_count, begin, end, threshold, dead);
}

D2_OPS_CLONES static void suppress_by(const BoxColumns<double>& boxes, const int64_t* by,
                                                       int64_t by_count, int64_t begin, int64_t end,
                                                       double threshold, uint8_t* dead) {
  suppress(boxes, by, by_count, begin, end, threshold, dead);
}

}  // namespace nms_detail

template <class T>
void BoxColumns<T>::suppress(const int64_t* by, int64_t by_count, int64_t begin, int64_t end, T threshold,
                             uint8_t* dead) const {
  nms_detail::suppress_by(*this, by, by_count, begin, end, threshold, dead);
}

// boxes: n rows of x1, y1, x2, y2; scores: n; classes: n labels, or null to treat all boxes as one
// class.
template <class T, class S, class ParallelFor>
Suppression nms_of_all(const T* boxes, const S* scores, const int64_t* classes, int64_t n, double iou_threshold,
                       const ParallelFor& parallel_for) {
  return suppress_greedily<BoxColumns<T>>(boxes, scores, classes, n, iou_threshold, parallel_for);
}

// Indices of the kept boxes, by decreasing score.
template <class T, class S, class ParallelFor>
std::vector<int64_t> nms(const T* boxes, const S* scores, const int64_t* classes, int64_t n,
                         double iou_threshold, const ParallelFor& parallel_for) {
  return kept_of(nms_of_all(boxes, scores, classes, n, iou_threshold, parallel_for));
}

}  // namespace d2_ops
