// Boxes as columns, as many as stay in the nearest cache.
#pragma once

#include <cstdint>

#include "box_overlap.h"

namespace d2_ops {

template <class T, int64_t Size = 1024>
struct BoxTile {
  static constexpr int64_t kSize = Size;

  D2_OPS_INLINE void load(const T* boxes, int64_t count) {
    for (int64_t j = 0; j < count; ++j) {
      const Box<T> box = box_of(boxes + kBoxRow * j);
      x1[j] = box.x1;
      y1[j] = box.y1;
      x2[j] = box.x2;
      y2[j] = box.y2;
      area[j] = box.area;
    }
  }

  D2_OPS_INLINE Box<T> operator[](int64_t j) const { return {x1[j], y1[j], x2[j], y2[j], area[j]}; }

  T x1[kSize], y1[kSize], x2[kSize], y2[kSize], area[kSize];
};

}  // namespace d2_ops
