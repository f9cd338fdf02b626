// Rotated boxes and how much two of them overlap: shared by the CPU and CUDA kernels.
//
// All of it is float64 whatever the boxes came as, and sine and cosine are computed here: results
// depend neither on the machine nor on its mathematical library, and quarter turns are exact.
#pragma once

#include <cmath>

#include "platform.h"

namespace d2_ops {

constexpr int kRotatedBoxRow = 5;  // centre x, centre y, width, height, degrees counter-clockwise

// The sine and cosine of an angle in degrees. The reduction to [-45, 45] is exact.
D2_OPS_HOST_DEVICE void sine_cosine(double degrees, double* sine, double* cosine) {
  const double turned = remainder(degrees, 360.0);
  const double quarter = rint(turned / 90.0);
  const double x = (turned - 90.0 * quarter) * 0.017453292519943295769, z = x * x;
  // Taylor series: on [-pi / 4, pi / 4] the first missing terms are below half a unit in the last place.
  const double s = x - x * z * (1.0 / 6 - z * (1.0 / 120 - z * (1.0 / 5040 - z * (1.0 / 362880 - z * (1.0 / 39916800 -
                   z * (1.0 / 6227020800 - z / 1307674368000))))));
  const double c = 1 - z * (0.5 - z * (1.0 / 24 - z * (1.0 / 720 - z * (1.0 / 40320 - z * (1.0 / 3628800 -
                   z * (1.0 / 479001600 - z * (1.0 / 87178291200 - z / 20922789888000)))))));
  const bool odd = quarter == 1 || quarter == -1, back = quarter == 2 || quarter == -2;
  const double sign = back ? -1.0 : 1.0;
  *sine = odd ? quarter * c : sign * s;
  *cosine = odd ? -quarter * s : sign * c;
}

// A box, ready to be compared. Its width points along (cosine, -sine), its height along (sine, cosine).
struct RotatedBox {
  double x, y, cosine, sine, half_width, half_height;
  double reach_x, reach_y, radius;  // of the upright box and of the circle around it
  double area;                      // NaN for a box that is not finite, 0 for one without area
};

D2_OPS_HOST_DEVICE RotatedBox rotated_box(const double* row) {
  RotatedBox box;
  box.x = row[0];
  box.y = row[1];
  box.half_width = 0.5 * row[2];
  box.half_height = 0.5 * row[3];
  sine_cosine(row[4], &box.sine, &box.cosine);
  const double width = fabs(box.half_width), height = fabs(box.half_height);
  box.reach_x = width * fabs(box.cosine) + height * fabs(box.sine);
  box.reach_y = width * fabs(box.sine) + height * fabs(box.cosine);
  box.radius = sqrt(width * width + height * height);
  const double sum = row[0] + row[1] + row[2] + row[3] + row[4];
  const double zero_or_nan = sum - sum;
  const bool solid = zero_or_nan == 0 && row[2] > 0 && row[3] > 0;
  box.area = solid ? row[2] * row[3] : zero_or_nan;
  if (!solid) box.reach_x = box.reach_y = -1e300;  // near no box
  return box;
}

// Whether the upright boxes and the circles around two boxes overlap; if not, neither do the boxes.
D2_OPS_HOST_DEVICE bool may_overlap(const RotatedBox& a, const RotatedBox& b) {
  const double dx = fabs(b.x - a.x), dy = fabs(b.y - a.y), reach = a.radius + b.radius;
  return (dx < a.reach_x + b.reach_x) & (dy < a.reach_y + b.reach_y) & (dx * dx + dy * dy < reach * reach);
}

// The IoU of boxes that do not overlap: 0, but NaN if one is not finite.
D2_OPS_HOST_DEVICE double iou_of_disjoint(const RotatedBox& a, const RotatedBox& b) { return 0 * (a.area + b.area); }

namespace rotated_detail {

// NaN becomes `low`.
D2_OPS_HOST_DEVICE double limit(double value, double low, double high) {
  value = value > low ? value : low;
  return value < high ? value : high;
}

// The area between an edge and the bottom of the rectangle |x| <= width, |y| <= height, within the
// rectangle, counted negative where the edge runs towards lower x. Bounded by the rectangle's area
// whatever the slope of the edge.
D2_OPS_HOST_DEVICE double area_under_edge(double x1, double y1, double x2, double y2, double width, double height) {
  const double from = limit(x1, -width, width), to = limit(x2, -width, width);
  const double dx = x2 - x1, run = dx != 0 ? dx : 1.0;
  const double start = y1 + limit((from - x1) / run, 0, 1) * (y2 - y1);
  const double end = y2 - limit((x2 - to) / run, 0, 1) * (y2 - y1);
  const double low = start < end ? start : end, high = start < end ? end : start;
  const double inner_low = limit(low, -height, height), inner_high = limit(high, -height, height);
  const double top_low = low > height ? low : height, top_high = high > height ? high : height;
  const double rise = high - low, span = rise > 0 ? rise : 1.0;
  // Means over the edge: its height within the rectangle, and the rectangle's where it runs above.
  const double within = rise > 0 ? (inner_high - inner_low) / span : (top_high > height ? 0.0 : 1.0);
  const double above = rise > 0 ? (top_high - top_low) / span : (top_high > height ? 1.0 : 0.0);
  return (to - from) * (within * (0.5 * (inner_low + inner_high) + height) + above * 2 * height);
}

}  // namespace rotated_detail

// Intersection over union of two boxes that may overlap.
//
// Seen from the first box, which lies upright and centred then, the overlap is what the second
// box's four edges enclose of it (Green's theorem): no polygon is built, no vertices are sorted,
// and the result is continuous in everything, so that identical, touching and nearly parallel
// boxes are no special cases. The error is a few units in the last place of an area.
D2_OPS_HOST_DEVICE double rotated_iou(const RotatedBox& a, const RotatedBox& b) {
  using namespace rotated_detail;
  const double dx = b.x - a.x, dy = b.y - a.y;
  const double x = a.cosine * dx - a.sine * dy, y = a.sine * dx + a.cosine * dy;
  const double c = a.cosine * b.cosine + a.sine * b.sine, s = a.cosine * b.sine - a.sine * b.cosine;
  const double abs_c = fabs(c), abs_s = fabs(s);
  // Disjoint boxes are separated along one of the four directions of sides.
  const bool overlap = (fabs(x) < a.half_width + b.half_width * abs_c + b.half_height * abs_s) &
                       (fabs(y) < a.half_height + b.half_width * abs_s + b.half_height * abs_c) &
                       (fabs(c * x - s * y) < b.half_width + a.half_width * abs_c + a.half_height * abs_s) &
                       (fabs(s * x + c * y) < b.half_height + a.half_width * abs_s + a.half_height * abs_c);
  const double wx = b.half_width * c, wy = -b.half_width * s, hx = b.half_height * s, hy = b.half_height * c;
  const double x1 = x - wx - hx, y1 = y - wy - hy, x2 = x + wx - hx, y2 = y + wy - hy;
  const double x3 = x + wx + hx, y3 = y + wy + hy, x4 = x - wx + hx, y4 = y - wy + hy;
  const double inter = -(area_under_edge(x1, y1, x2, y2, a.half_width, a.half_height) +
                         area_under_edge(x3, y3, x4, y4, a.half_width, a.half_height) +
                         area_under_edge(x2, y2, x3, y3, a.half_width, a.half_height) +
                         area_under_edge(x4, y4, x1, y1, a.half_width, a.half_height));
  const double smaller = a.area < b.area ? a.area : b.area;
  const double shared = overlap ? limit(inter, 0, smaller) : 0.0;
  return shared / (a.area + b.area - shared);
}

}  // namespace d2_ops
