// Overlap of rotated boxes as it is usually computed: where the sides of two boxes cross and which
// corners lie inside the other box are collected, ordered around their middle, and the polygon's area
// is summed; in float32, one pair after the other. And suppression by it. The peer of rotated_boxes.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace {

struct Point {
  float x, y;
};

Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y}; }
float cross(Point a, Point b) { return a.x * b.y - a.y * b.x; }
float dot(Point a, Point b) { return a.x * b.x + a.y * b.y; }

void corners(const float* box, Point* out) {
  const double angle = box[4] * 0.017453292519943295;
  const float c = static_cast<float>(std::cos(angle)) * 0.5f, s = static_cast<float>(std::sin(angle)) * 0.5f;
  out[0] = {box[0] - s * box[3] - c * box[2], box[1] + s * box[2] - c * box[3]};
  out[1] = {box[0] + s * box[3] - c * box[2], box[1] + s * box[2] + c * box[3]};
  out[2] = {2 * box[0] - out[0].x, 2 * box[1] - out[0].y};
  out[3] = {2 * box[0] - out[1].x, 2 * box[1] - out[1].y};
}

int corners_inside(const Point* of, const Point* box, Point* out) {
  const Point side = box[1] - box[0], other = box[3] - box[0];
  int found = 0;
  for (int i = 0; i < 4; ++i) {
    const Point p = of[i] - box[0];
    const float along = dot(p, side), across = dot(p, other);
    if (along >= 0 && across >= 0 && along <= dot(side, side) && across <= dot(other, other)) out[found++] = of[i];
  }
  return found;
}

int crossings(const Point* a, const Point* b, Point* out) {
  int found = 0;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const Point u = a[(i + 1) % 4] - a[i], v = b[(j + 1) % 4] - b[j];
      const float det = cross(v, u);
      if (std::fabs(det) <= 1e-14f) continue;
      const Point between = b[j] - a[i];
      const float s = cross(v, between) / det, t = cross(u, between) / det;
      if (s >= 0 && s <= 1 && t >= 0 && t <= 1) out[found++] = {a[i].x + u.x * s, a[i].y + u.y * s};
    }
  }
  return found;
}

float polygon_area(Point* points, int count) {
  if (count < 3) return 0;
  Point middle{0, 0};
  for (int i = 0; i < count; ++i) middle = {middle.x + points[i].x / count, middle.y + points[i].y / count};
  std::sort(points, points + count, [&](Point a, Point b) {
    return std::atan2(a.y - middle.y, a.x - middle.x) < std::atan2(b.y - middle.y, b.x - middle.x);
  });
  float area = 0;
  for (int i = 1; i + 1 < count; ++i) area += cross(points[i] - points[0], points[i + 1] - points[0]);
  return std::fabs(area) / 2;
}

float overlap(const float* a, const float* b) {
  const float area_a = a[2] * a[3], area_b = b[2] * b[3];
  if (area_a < 1e-14f || area_b < 1e-14f) return 0;
  Point corners_a[4], corners_b[4], points[24];
  corners(a, corners_a);
  corners(b, corners_b);
  int count = crossings(corners_a, corners_b, points);
  count += corners_inside(corners_a, corners_b, points + count);
  count += corners_inside(corners_b, corners_a, points + count);
  const float shared = polygon_area(points, count);
  return shared / (area_a + area_b - shared);
}

}  // namespace

extern "C" void box_iou(const float* boxes1, int64_t n, const float* boxes2, int64_t m, float* iou) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < m; ++j) iou[i * m + j] = overlap(boxes1 + 5 * i, boxes2 + 5 * j);
}

extern "C" int64_t nms(const float* boxes, const float* scores, int64_t n, float threshold, int64_t* kept) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  std::vector<bool> dropped(n);
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (dropped[i]) continue;
    kept[count++] = order[i];
    for (int64_t j = i + 1; j < n; ++j)
      if (!dropped[j] && overlap(boxes + 5 * order[i], boxes + 5 * order[j]) > threshold) dropped[j] = true;
  }
  return count;
}
