// Masks cropped by boxes and resized to squares: the targets of Mask R-CNN. A cell of the square is
// set where RoIAlign with adaptive sampling finds at least half of it covered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "platform.h"
#include "roi_align.h"
#include "roi_geometry.h"
#include "run_columns.h"
#include "runs.h"

namespace d2_ops {

// A box laid over an image: which pixels its cells read, and how much each counts.
class BitmapCrop {
 public:
  BitmapCrop(int64_t height, int64_t width, int64_t size) : height_(height), width_(width), size_(size) {}

  // box: x1, y1, x2, y2. Returns the pixels that are read: none where the box is empty, far away or
  // not finite.
  PixelBox lay(const float* box) {
    const RoiAxis<float> x = roi_axis(box[0], box[2], 1.0f, size_, 0, true);
    const RoiAxis<float> y = roi_axis(box[1], box[3], 1.0f, size_, 0, true);
    if (!x.usable || !y.usable || height_ == 0 || width_ == 0) return window_ = {};
    // Samples count 1 and sums are compared with half of their number: where pixels are cut at
    // simple fractions, a cell that is exactly half covered stays exactly that.
    fill_taps(x, size_, width_, 1.0f, &columns_);
    fill_taps(y, size_, height_, 1.0f, &rows_);
    half_ = std::max(0.5f * static_cast<float>(x.grid) * static_cast<float>(y.grid), 0.5f);
    if (columns_.taps.empty() || rows_.taps.empty()) return window_ = {};
    const auto before = [](const Tap<float>& a, const Tap<float>& b) { return a.pixel < b.pixel; };
    const auto across = std::minmax_element(columns_.taps.begin(), columns_.taps.end(), before);
    const auto down = std::minmax_element(rows_.taps.begin(), rows_.taps.end(), before);
    return window_ = {across.first->pixel, down.first->pixel, across.second->pixel + 1, down.second->pixel + 1};
  }

  // pixels: the first one read, of rows `stride` apart; out: (size, size) bytes.
  void sample(const uint8_t* pixels, int64_t stride, uint8_t* out) {
    if (window_.empty()) {
      std::memset(out, 0, size_ * size_);
      return;
    }
    const int64_t length = window_.right - window_.left;
    for (int64_t p = 0; p < size_; ++p, out += size_) {
      combined_.assign(length, 0.0f);
      for (const Tap<float>* tap = rows_.begin(p); tap != rows_.end(p); ++tap)
        add_row(pixels + (tap->pixel - window_.top) * stride, length, tap->weight, combined_.data());
      const float* combined = combined_.data() - window_.left;
      for (int64_t q = 0; q < size_; ++q) {
        float sum = 0.0f;
        for (const Tap<float>* tap = columns_.begin(q); tap != columns_.end(q); ++tap)
          sum += tap->weight * combined[tap->pixel];
        out[q] = sum >= half_;
      }
    }
  }

 private:
  D2_OPS_CLONES static void add_row(const uint8_t* row, int64_t length, float weight, float* sums) {
    for (int64_t x = 0; x < length; ++x) sums[x] += weight * static_cast<float>(row[x]);
  }

  int64_t height_, width_, size_;
  AxisTaps<float> rows_, columns_;
  PixelBox window_;
  float half_ = 0.0f;
  std::vector<float> combined_;
};

// The pixels of runs within a window, row after row.
inline void window_of_runs(const Runs& runs, int64_t height, const PixelBox& window, std::vector<uint8_t>* pixels) {
  const int64_t width = window.right - window.left, rows = window.bottom - window.top;
  pixels->assign(width * rows, 0);
  if (pixels->empty()) return;
  const auto ends_before = [](const Run& run, int64_t position) { return run.end <= position; };
  const auto first = std::lower_bound(runs.begin(), runs.end(), window.left * height, ends_before);
  ColumnCursor cursor(height);
  // Mark where a column changes, then sum down the columns.
  for (auto run = first; run != runs.end() && run->begin < window.right * height; ++run) {
    const int64_t end = std::min(run->end, window.right * height);
    for (int64_t begin = std::max(run->begin, window.left * height); begin < end;) {
      cursor.move_to(begin);
      const int64_t length = std::min(end - begin, height - cursor.row());
      const int64_t from = std::max(cursor.row(), window.top) - window.top;
      const int64_t to = std::min(cursor.row() + length, window.bottom) - window.top;
      uint8_t* column = pixels->data() + cursor.column() - window.left;
      if (from < to) column[from * width] ^= 1;
      if (from < to && to < rows) column[to * width] ^= 1;
      begin += length;
    }
  }
  for (int64_t i = width; i < width * rows; ++i) (*pixels)[i] ^= (*pixels)[i - width];
}

}  // namespace d2_ops
