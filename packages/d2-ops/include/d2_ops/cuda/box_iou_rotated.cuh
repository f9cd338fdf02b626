// IoU of all pairs of rotated boxes on the device: one thread per pair, the same arithmetic as on the CPU.
#pragma once

#include <cstdint>

#include "../rotated_box.h"
#include "grid.cuh"

namespace d2_ops {

static __global__ void prepare_rotated_boxes(const double* rows, int64_t n, RotatedBox* boxes) {
  for (int64_t i = first_item(); i < n; i += item_stride()) boxes[i] = rotated_box(rows + kRotatedBoxRow * i);
}

// T: type of the result. items = boxes of the first list x columns, boxes of the second.
template <class T>
__global__ void box_iou_rotated(const RotatedBox* boxes1, const RotatedBox* boxes2, int64_t items, int64_t columns,
                                T* iou) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const RotatedBox &a = boxes1[item / columns], &b = boxes2[item % columns];
    iou[item] = static_cast<T>(may_overlap(a, b) ? rotated_iou(a, b) : iou_of_disjoint(a, b));
  }
}

}  // namespace d2_ops
