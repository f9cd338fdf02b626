// What two boxes x1, y1, x2, y2 have in common.
//
// Operations and their order are those of the plain formulas, so results have the same bits:
// width and height of the intersection are cut off at 0, areas are not. A ratio of two zeros is 0.
#pragma once

#include "platform.h"

namespace d2_ops {

constexpr int kBoxRow = 4;

template <class T>
struct Box {
  T x1, y1, x2, y2, area;
};

template <class T>
D2_OPS_HOST_DEVICE Box<T> box_of(const T* row) {
  return {row[0], row[1], row[2], row[3], (row[2] - row[0]) * (row[3] - row[1])};
}

template <class T>
D2_OPS_HOST_DEVICE bool has_nan(const Box<T>& box) {
  return box.x1 != box.x1 || box.y1 != box.y1 || box.x2 != box.x2 || box.y2 != box.y2;
}

template <class T>
D2_OPS_HOST_DEVICE T intersection(const Box<T>& a, const Box<T>& b) {
  const T left = a.x1 > b.x1 ? a.x1 : b.x1, top = a.y1 > b.y1 ? a.y1 : b.y1;
  const T right = a.x2 < b.x2 ? a.x2 : b.x2, bottom = a.y2 < b.y2 ? a.y2 : b.y2;
  T width = right - left, height = bottom - top;
  width = width > T(0) ? width : T(0);
  height = height > T(0) ? height : T(0);
  return width * height;
}

// The area of the smallest box around both.
template <class T>
D2_OPS_HOST_DEVICE T hull(const Box<T>& a, const Box<T>& b) {
  const T left = a.x1 < b.x1 ? a.x1 : b.x1, top = a.y1 < b.y1 ? a.y1 : b.y1;
  const T right = a.x2 > b.x2 ? a.x2 : b.x2, bottom = a.y2 > b.y2 ? a.y2 : b.y2;
  T width = right - left, height = bottom - top;
  width = width > T(0) ? width : T(0);
  height = height > T(0) ? height : T(0);
  return width * height;
}

// A whole that is not positive has no part; NaN stays NaN.
template <class T>
D2_OPS_HOST_DEVICE T share(T part, T whole) {
  return part / (whole <= T(0) ? T(1) : whole);
}

// Intersection over union. NaN if a has NaN, or b, whose area then is NaN; comparisons hide a's.
struct Iou {
  template <class T>
  static D2_OPS_HOST_DEVICE T of(const Box<T>& a, const Box<T>& b) {
    const T shared = intersection(a, b);
    return share(shared, a.area + b.area - shared);
  }
};

// Intersection over the area of b.
struct Ioa {
  template <class T>
  static D2_OPS_HOST_DEVICE T of(const Box<T>& a, const Box<T>& b) {
    return share(intersection(a, b), b.area);
  }
};

// Rezatofighi et al., "Generalized Intersection over Union", 2019.
struct Giou {
  template <class T>
  static D2_OPS_HOST_DEVICE T of(const Box<T>& a, const Box<T>& b) {
    const T shared = intersection(a, b), joint = a.area + b.area - shared, around = hull(a, b);
    return share(shared, joint) - share(around - joint, around);
  }
};

}  // namespace d2_ops
