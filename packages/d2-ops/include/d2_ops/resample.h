// Resizing pictures by a filter that is as wide as the pixel it makes: rows and columns after each
// other, in whole numbers, as Pillow does.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "d2_ops/platform.h"

namespace d2_ops {

constexpr int kWeightBits = 22;  // 32 less eight for the pixel and two to spare
constexpr int32_t kHalf = 1 << (kWeightBits - 1);

// For each pixel of a side after, the pixels before that it is made of, and their weights.
struct TentFilter {
  struct Span {
    int64_t first, count;
  };
  std::vector<Span> spans;
  std::vector<int32_t> weights;  // spans.size() x width
  int64_t width;

  TentFilter(int64_t before, int64_t after) : spans(after) {
    const double scale = static_cast<double>(before) / static_cast<double>(after);
    const double reach = std::max(scale, 1.0);
    width = static_cast<int64_t>(std::ceil(reach)) * 2 + 1;
    weights.assign(after * width, 0);
    std::vector<double> shares(width);
    for (int64_t i = 0; i < after; ++i) lay(i, scale, reach, before, shares.data());
  }

  int64_t size() const { return static_cast<int64_t>(spans.size()); }
  const int32_t* of(int64_t i) const { return weights.data() + i * width; }

 private:
  void lay(int64_t i, double scale, double reach, int64_t before, double* shares) {
    const double centre = (static_cast<double>(i) + 0.5) * scale, slope = 1.0 / reach;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - reach + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(centre + reach + 0.5), before);
    double total = 0;
    for (int64_t j = first; j < end; ++j) {
      const double distance = std::abs((static_cast<double>(j) - centre + 0.5) * slope);
      shares[j - first] = distance < 1.0 ? 1.0 - distance : 0.0;
      total += shares[j - first];
    }
    int32_t* out = weights.data() + i * width;
    for (int64_t j = 0; j < end - first; ++j) {
      const double share = total != 0 ? shares[j] / total : shares[j];
      out[j] = static_cast<int32_t>(0.5 + share * (1 << kWeightBits));
    }
    // Pixels without weight cost time and change nothing.
    int64_t skipped = 0, count = end - first;
    while (count > 1 && out[count - 1] == 0) --count;
    while (skipped < count - 1 && out[skipped] == 0) ++skipped;
    std::copy(out + skipped, out + count, out);
    spans[i] = {first + skipped, count - skipped};
  }
};

D2_OPS_INLINE uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::min(sum >> kWeightBits, 255)); }

constexpr int64_t kRows = 16;  // filtered at once, side by side in memory

// `pixels` is (before, channels, kRows), `out` (channels, after, kRows).
D2_OPS_CLONES static void filter_rows(const uint8_t* pixels, int64_t channels,
                                                       const TentFilter& filter, uint8_t* out) {
  const int64_t after = filter.size();
  for (int64_t x = 0; x < after; ++x) {
    const TentFilter::Span span = filter.spans[x];
    const int32_t* weights = filter.of(x);
    for (int64_t c = 0; c < channels; ++c) {
      const uint8_t* from = pixels + (span.first * channels + c) * kRows;
      int32_t sums[kRows];
      for (int64_t r = 0; r < kRows; ++r) sums[r] = kHalf;
      for (int64_t j = 0; j < span.count; ++j)
        for (int64_t r = 0; r < kRows; ++r) sums[r] += weights[j] * from[j * channels * kRows + r];
      uint8_t* to = out + (c * after + x) * kRows;
      for (int64_t r = 0; r < kRows; ++r) to[r] = rounded(sums[r]);
    }
  }
}

template <int64_t count>
D2_OPS_INLINE void mix_rows(const uint8_t* rows, const int32_t* weights, int64_t width, uint8_t* out) {
  for (int64_t x = 0; x < width; ++x) {
    int32_t sum = kHalf;
    for (int64_t j = 0; j < count; ++j) sum += weights[j] * rows[j * width + x];
    out[x] = rounded(sum);
  }
}

// One row of one plane from the rows before that it is made of.
D2_OPS_CLONES static void filter_column(const uint8_t* rows, const int32_t* weights, int64_t count,
                                                         int64_t width, int32_t* sums, uint8_t* out) {
  switch (count) {
    case 1: return mix_rows<1>(rows, weights, width, out);
    case 2: return mix_rows<2>(rows, weights, width, out);
    case 3: return mix_rows<3>(rows, weights, width, out);
    case 4: return mix_rows<4>(rows, weights, width, out);
    case 5: return mix_rows<5>(rows, weights, width, out);
  }
  std::fill(sums, sums + width, kHalf);
  for (int64_t j = 0; j < count; ++j)
    for (int64_t x = 0; x < width; ++x) sums[x] += weights[j] * rows[j * width + x];
  for (int64_t x = 0; x < width; ++x) out[x] = rounded(sums[x]);
}

// Rows [top, end) of height x width x channels, to channels x height x the filter's width after.
inline void filter_across(const uint8_t* picture, int64_t height, int64_t width, int64_t channels,
                          const TentFilter& filter, int64_t top, int64_t end, uint8_t* planes) {
  const int64_t line = width * channels, new_width = filter.size();
  std::vector<uint8_t> before(line * kRows), after(channels * new_width * kRows);
  uint8_t *const in = before.data(), *const out = after.data();
  for (; top < end; top += kRows) {
    const int64_t rows = std::min(kRows, end - top);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < line; ++i) in[i * kRows + r] = picture[(top + r) * line + i];
    filter_rows(in, channels, filter, out);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t r = 0; r < rows; ++r) {
        uint8_t* row = planes + (c * height + top + r) * new_width;
        for (int64_t x = 0; x < new_width; ++x) row[x] = out[(c * new_width + x) * kRows + r];
      }
  }
}

// Rows [from, to) of count x the filter's height after x line, from count x height x line.
inline void filter_down(const uint8_t* planes, int64_t height, int64_t line, const TentFilter& filter, int64_t from,
                        int64_t to, uint8_t* out) {
  std::vector<int32_t> sums(line);
  for (int64_t row = from; row < to; ++row) {
    const int64_t plane = row / filter.size(), y = row % filter.size();
    const TentFilter::Span span = filter.spans[y];
    filter_column(planes + (plane * height + span.first) * line, filter.of(y), span.count, line, sums.data(),
                  out + row * line);
  }
}

// Columns come first where the height loses more than twice as many pixels as the width: less work.
inline bool columns_first(int64_t height, int64_t width, int64_t new_height, int64_t new_width) {
  return new_height < height && height - new_height > 2 * (width - new_width);
}

// `picture` is height x width x channels, `planes` channels x new_height x new_width.
template <class ParallelFor>
void resize_picture(const uint8_t* picture, int64_t height, int64_t width, int64_t channels, int64_t new_height,
                    int64_t new_width, uint8_t* planes, const ParallelFor& parallel_for) {
  const TentFilter across(width, new_width), down(height, new_height);
  // Loops over pixels stand in functions of their own: a byte that is written might be a part of
  // whatever a lambda refers to, which would be read anew for each.
  const auto rows_of = [&](const uint8_t* from, int64_t rows, uint8_t* to) {
    parallel_for(0, (rows + kRows - 1) / kRows, 4, [&](int64_t first, int64_t end) {
      filter_across(from, rows, width, channels, across, first * kRows, std::min(end * kRows, rows), to);
    });
  };
  const auto columns_of = [&](const uint8_t* from, int64_t planes_of, int64_t line, uint8_t* to) {
    parallel_for(0, planes_of * new_height, 64,
                 [&](int64_t first, int64_t end) { filter_down(from, height, line, down, first, end, to); });
  };
  if (columns_first(height, width, new_height, new_width)) {
    const std::unique_ptr<uint8_t[]> between(new uint8_t[new_height * width * channels]);
    columns_of(picture, 1, width * channels, between.get());
    rows_of(between.get(), new_height, planes);
  } else {
    const std::unique_ptr<uint8_t[]> between(new uint8_t[channels * height * new_width]);
    rows_of(picture, height, between.get());
    columns_of(between.get(), channels, new_width, planes);
  }
}

}  // namespace d2_ops
