// Thick lines with round ends, by the distance of each pixel's centre.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "d2_ops/overlay.h"
#include "d2_ops/platform.h"

namespace d2_ops {

struct Segment {
  double x0, y0, x1, y1;
};

// Segments of one width, laid on together: where they overlap the colour counts once.
struct Path {
  const Segment* segments;
  int64_t count;
  double width;
  Ink ink;
};

struct Window {
  int64_t x0, y0, x1, y1;

  bool empty() const { return x0 >= x1 || y0 >= y1; }
};

// Of [low, high], the pixels in [first, last); coordinates of any size.
inline void clip_to_pixels(double low, double high, int64_t first, int64_t last, int64_t* begin, int64_t* end) {
  const auto limit = [&](double v) { return std::clamp(v, static_cast<double>(first), static_cast<double>(last)); };
  *begin = static_cast<int64_t>(limit(std::floor(low)));
  *end = static_cast<int64_t>(limit(std::floor(high) + 1));
}

inline Window window_of(const Path& path, int64_t width, int64_t first_row, int64_t last_row) {
  double x0 = HUGE_VAL, y0 = HUGE_VAL, x1 = -HUGE_VAL, y1 = -HUGE_VAL;
  for (int64_t i = 0; i < path.count; ++i) {
    const Segment& s = path.segments[i];
    x0 = std::min({x0, s.x0, s.x1}), x1 = std::max({x1, s.x0, s.x1});
    y0 = std::min({y0, s.y0, s.y1}), y1 = std::max({y1, s.y0, s.y1});
  }
  const double reach = path.width / 2 + 0.5;
  Window window{0, 0, 0, 0};
  if (path.count == 0) return window;
  clip_to_pixels(x0 - reach, x1 + reach, 0, width, &window.x0, &window.x1);
  clip_to_pixels(y0 - reach, y1 + reach, first_row, last_row, &window.y0, &window.y1);
  return window;
}

// One minus the distance by which the centres of pixels begin .. end of row y miss the line.
D2_OPS_CLONES static void cover_row(const Segment& s, double reach, int64_t y, int64_t begin,
                                                     int64_t end, uint8_t* coverage) {
  const double dx = s.x1 - s.x0, dy = s.y1 - s.y0;
  const double scale = 1 / std::max(dx * dx + dy * dy, 1e-12);
  const double v = static_cast<double>(y) + 0.5 - s.y0;
  for (int64_t x = begin; x < end; ++x) {
    const double u = static_cast<double>(x) + 0.5 - s.x0;
    double t = (u * dx + v * dy) * scale;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    const double across = u - t * dx, along = v - t * dy;
    double covered = reach - std::sqrt(across * across + along * along);
    covered = covered > 0 ? (covered < 1 ? covered : 1) : 0;  // NaN covers nothing
    const auto value = static_cast<uint8_t>(static_cast<int>(covered * 255 + 0.5));
    coverage[x - begin] = coverage[x - begin] > value ? coverage[x - begin] : value;
  }
}

// Raises `coverage`, a map of the window, to what the segment covers of it.
inline void cover_segment(const Segment& s, double line_width, const Window& window, uint8_t* coverage) {
  const double reach = line_width / 2 + 0.5;
  const double dx = s.x1 - s.x0, dy = s.y1 - s.y0;
  int64_t top, bottom;
  clip_to_pixels(std::min(s.y0, s.y1) - reach, std::max(s.y0, s.y1) + reach, window.y0, window.y1, &top, &bottom);
  for (int64_t y = top; y < bottom; ++y) {
    // The part of the segment that is near enough in y bounds what is near enough at all.
    double from = 0, to = 1;
    if (dy != 0) {
      const double above = (static_cast<double>(y) + 0.5 - reach - s.y0) / dy;
      const double below = (static_cast<double>(y) + 0.5 + reach - s.y0) / dy;
      from = std::max(0.0, std::min(above, below));
      to = std::min(1.0, std::max(above, below));
      if (!(from <= to)) continue;
    }
    const double a = s.x0 + from * dx, b = s.x0 + to * dx;
    int64_t begin, end;
    clip_to_pixels(std::min(a, b) - reach, std::max(a, b) + reach, window.x0, window.x1, &begin, &end);
    if (begin < end)
      cover_row(s, reach, y, begin, end, coverage + (y - window.y0) * (window.x1 - window.x0) + begin - window.x0);
  }
}

// All paths, later ones over earlier ones.
template <class ParallelFor>
void stroke_paths(const Picture& picture, const Path* paths, int64_t count, const ParallelFor& parallel_for) {
  const int64_t grain = std::max<int64_t>(picture.height * 64 / std::max<int64_t>(count, 1), 64);
  parallel_for(0, picture.height, grain, [&](int64_t first, int64_t last) {
    std::vector<uint8_t> coverage;
    for (int64_t i = 0; i < count; ++i) {
      const Path& path = paths[i];
      const Window window = window_of(path, picture.width, first, last);
      if (window.empty() || path.ink.weight == 0) continue;
      const int64_t height = window.y1 - window.y0, width = window.x1 - window.x0;
      coverage.assign(height * width, 0);
      for (int64_t s = 0; s < path.count; ++s)
        cover_segment(path.segments[s], path.width, window, coverage.data());
      blend_layer(picture, {coverage.data(), window.x0, window.y0, height, width, path.ink, {}}, first, last);
    }
  });
}

}  // namespace d2_ops
