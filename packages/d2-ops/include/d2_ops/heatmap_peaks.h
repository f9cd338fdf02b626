// The highest pixel of heatmaps that are enlarged by bicubic interpolation.
//
// An enlarged map is never held: its columns are interpolated first, some at a time, and of its rows
// only those are computed that could hold the maximum, by bounds on what the weights can make of the
// values of the rows they read.
//
// Source: Keys, "Cubic convolution interpolation for digital image processing", 1981.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "elementary.h"
#include "platform.h"

namespace d2_ops {

// The four values that a pixel of an enlarged line reads.
struct CubicTaps {
  int32_t index[4];
  float weight[4];
};

// Pixel `position` of a line of `side` values enlarged to `length` pixels. The outermost values are
// repeated beyond the ends.
inline CubicTaps cubic_taps(int64_t position, int64_t length, int64_t side) {
  constexpr float kParameter = -0.75f;  // of Keys' family, as in torch's bicubic interpolation
  // The pixel's centre lies at numerator / denominator, counted from the first value's centre.
  const int64_t numerator = (2 * position + 1) * side - length, denominator = 2 * length;
  const int64_t before = numerator >= 0 ? numerator / denominator : -((denominator - 1 - numerator) / denominator);
  const float t = static_cast<float>(numerator - before * denominator) / static_cast<float>(denominator);
  const auto near = [](float x) { return ((kParameter + 2) * x - (kParameter + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((kParameter * x - 5 * kParameter) * x + 8 * kParameter) * x - 4 * kParameter; };
  CubicTaps taps{{}, {far(t + 1), near(t), near(1 - t), far(2 - t)}};
  for (int64_t k = 0; k < 4; ++k)
    taps.index[k] = static_cast<int32_t>(std::clamp<int64_t>(before - 1 + k, 0, side - 1));
  return taps;
}

struct HeatmapPeak {
  int64_t row = 0, column = 0;
  float value = -std::numeric_limits<float>::infinity();
};

namespace heatmap_peaks_detail {

constexpr int64_t kLanes = 16;

// Weighted sums of four lines.
D2_OPS_CLONES static void blend(const float* const* lines, const float* weights, int64_t count,
                                                 float* out) {
  const float *a = lines[0], *b = lines[1], *c = lines[2], *d = lines[3];
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] * weights[0] + b[i] * weights[1] + c[i] * weights[2] + d[i] * weights[3];
}

struct Range {
  float least, most;
};

D2_OPS_CLONES static Range range_of(const float* values, int64_t count) {
  float least[kLanes], most[kLanes];
  std::fill(least, least + kLanes, std::numeric_limits<float>::infinity());
  std::fill(most, most + kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) {
      least[k] = values[i + k] < least[k] ? values[i + k] : least[k];
      most[k] = values[i + k] > most[k] ? values[i + k] : most[k];
    }
  for (; i < count; ++i) {
    least[0] = std::min(least[0], values[i]);
    most[0] = std::max(most[0], values[i]);
  }
  return {*std::min_element(least, least + kLanes), *std::max_element(most, most + kLanes)};
}

// Sum of exp(value - most), for values of at most that.
D2_OPS_CLONES static float sum_of_exp(const float* values, int64_t count, float most) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) sums[k] += exponential(values[i + k] - most);
  for (; i < count; ++i) sums[0] += exponential(values[i] - most);
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

}  // namespace heatmap_peaks_detail

// Enlarges maps of one shape to one size after another.
class HeatmapEnlarger {
 public:
  HeatmapEnlarger(int64_t height, int64_t width) : height_(height), width_(width), turned_(height * width) {}

  // The size that the next maps are enlarged to.
  void set_size(int64_t rows, int64_t columns) {
    fill(&row_taps_, rows, height_);
    fill(&column_taps_, columns, width_);
  }

  // The first in reading order of the highest pixels of an enlarged map.
  HeatmapPeak peak(const float* map) {
    for (int64_t y = 0; y < height_; ++y)
      for (int64_t x = 0; x < width_; ++x) turned_[x * height_ + y] = map[y * width_ + x];
    HeatmapPeak best;
    const int64_t columns = column_taps_.size();
    for (int64_t first = 0; first < columns; first += kColumns) {
      const int64_t count = std::min(kColumns, columns - first);
      widen(first, count);
      search(first, count, &best);
    }
    return best;
  }

 private:
  static constexpr int64_t kColumns = 512;

  static void fill(std::vector<CubicTaps>* taps, int64_t length, int64_t side) {
    if (static_cast<int64_t>(taps->size()) == length) return;
    taps->clear();
    for (int64_t i = 0; i < length; ++i) taps->push_back(cubic_taps(i, length, side));
  }

  // wide_: (height, count), columns [first, first + count) of the map enlarged in that direction.
  void widen(int64_t first, int64_t count) {
    wide_.resize(height_ * count);
    column_.resize(height_);
    for (int64_t x = 0; x < count; ++x) {
      const CubicTaps& taps = column_taps_[first + x];
      const float* lines[4];
      for (int k = 0; k < 4; ++k) lines[k] = turned_.data() + taps.index[k] * height_;
      heatmap_peaks_detail::blend(lines, taps.weight, height_, column_.data());
      for (int64_t y = 0; y < height_; ++y) wide_[y * count + x] = column_[y];
    }
    ranges_.clear();
    for (int64_t y = 0; y < height_; ++y)
      ranges_.push_back(heatmap_peaks_detail::range_of(wide_.data() + y * count, count));
  }

  // The row that promises most goes first: the higher the best, the fewer others are computed.
  void search(int64_t first, int64_t count, HeatmapPeak* best) {
    const int64_t rows = row_taps_.size();
    bounds_.clear();
    for (const CubicTaps& taps : row_taps_) bounds_.push_back(bound(taps));
    const int64_t start = std::max_element(bounds_.begin(), bounds_.end()) - bounds_.begin();
    look(start, first, count, best);
    for (int64_t y = 0; y < rows; ++y)
      if (y != start && !(bounds_[y] < best->value)) look(y, first, count, best);
  }

  // What no value of a row exceeds, rounding included.
  float bound(const CubicTaps& taps) const {
    float most = 0, size = 0;
    for (int k = 0; k < 4; ++k) {
      const heatmap_peaks_detail::Range& range = ranges_[taps.index[k]];
      most += std::max(taps.weight[k] * range.most, taps.weight[k] * range.least);
      size += std::max(std::fabs(range.most), std::fabs(range.least));
    }
    return most + 4e-6f * size;
  }

  void look(int64_t y, int64_t first, int64_t count, HeatmapPeak* best) {
    const CubicTaps& taps = row_taps_[y];
    const float* lines[4];
    for (int k = 0; k < 4; ++k) lines[k] = wide_.data() + taps.index[k] * count;
    line_.resize(count);
    heatmap_peaks_detail::blend(lines, taps.weight, count, line_.data());
    const float most = heatmap_peaks_detail::range_of(line_.data(), count).most;
    if (most < best->value) return;
    const int64_t column = first + (std::find(line_.begin(), line_.end(), most) - line_.begin());
    if (column == first + count) return;  // nothing but NaN
    if (most > best->value || y < best->row || (y == best->row && column < best->column)) *best = {y, column, most};
  }

  int64_t height_, width_;
  std::vector<CubicTaps> row_taps_, column_taps_;
  std::vector<float> turned_, wide_, column_, line_, bounds_;
  std::vector<heatmap_peaks_detail::Range> ranges_;
};

// Sides of enlarged maps. Larger regions get a grid of as many pixels, each larger than one of the
// image: the work of one map is bounded, whatever region a model predicts.
constexpr float kMostPixels = 4096;

// The softmax, over the values of a map, of a value that need not be one of them.
inline float softmax_of(float value, const float* map, int64_t count) {
  const float most = heatmap_peaks_detail::range_of(map, count).most;
  return std::exp(value - most) / heatmap_peaks_detail::sum_of_exp(map, count, most);
}

// maps: (count, keypoints, height, width), not empty; rois: count rows of x1, y1, x2, y2, finite.
// out: (count, keypoints, 4): x and y of the highest pixel's centre in the image, its value in the
// enlarged map and its softmax; value and softmax are NaN for maps with NaN or infinity.
template <class ParallelFor>
void heatmaps_to_keypoints(const float* maps, const float* rois, int64_t count, int64_t keypoints, int64_t height,
                           int64_t width, float* out, const ParallelFor& parallel_for) {
  parallel_for(0, count * keypoints, 8, [&](int64_t from, int64_t to) {
    HeatmapEnlarger enlarger(height, width);
    for (int64_t i = from; i < to; ++i) {
      const float *roi = rois + i / keypoints * 4, *map = maps + i * height * width;
      const float w = std::max(roi[2] - roi[0], 1.0f), h = std::max(roi[3] - roi[1], 1.0f);
      const float columns = std::min(std::ceil(w), kMostPixels), rows = std::min(std::ceil(h), kMostPixels);
      enlarger.set_size(static_cast<int64_t>(rows), static_cast<int64_t>(columns));
      const HeatmapPeak peak = enlarger.peak(map);
      float* point = out + 4 * i;
      point[0] = (static_cast<float>(peak.column) + 0.5f) * (w / columns) + roi[0];
      point[1] = (static_cast<float>(peak.row) + 0.5f) * (h / rows) + roi[1];
      point[2] = point[3] = std::numeric_limits<float>::quiet_NaN();
      if (!std::all_of(map, map + height * width, [](float value) { return std::isfinite(value); })) continue;
      point[2] = peak.value;
      point[3] = softmax_of(peak.value, map, height * width);
    }
  });
}

}  // namespace d2_ops
