// The order in which RoIs meet the planes of a feature map, forward and backward.
//
// Planes are the outer loop, so that a plane stays in cache while all its RoIs are pooled, and so
// that the backward pass needs no atomics and is deterministic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "roi_geometry.h"

namespace d2_ops {

template <class T>
struct Tap {
  int32_t pixel;
  T weight;
};

constexpr int64_t kPlanesBytes = 512 * 1024;  // planes visited together, about an L2 cache

// Calls visit(taps, image, first channel, end channel, scratch row) for every RoI and blocks of the
// channels of its image. All visits of one plane happen on one thread, in RoI order.
//
// Taps is a RoI ready to be applied to any plane: it has `index`, kRow (numbers per RoI), kAtOnce
// (which bounds the memory), Scratch(height, width) and prepare(row, index, height, width, options, scratch).
template <class Taps, class T, class ParallelFor, class Visit>
void for_each_plane(const T* rois, int64_t roi_count, int64_t channels, int64_t height, int64_t width,
                    const RoiAlignOptions& options, const ParallelFor& parallel_for, const Visit& visit) {
  std::vector<int64_t> order(roi_count);
  std::iota(order.begin(), order.end(), 0);
  const auto image_of = [&](int64_t roi) { return static_cast<int64_t>(rois[Taps::kRow * roi]); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return image_of(a) < image_of(b); });

  const int64_t plane_bytes = std::max<int64_t>(height * width * sizeof(T), 1);
  const int64_t block = std::clamp<int64_t>(kPlanesBytes / plane_bytes, 1, 16);
  const int64_t blocks = (channels + block - 1) / block;
  std::vector<Taps> taps(std::min(roi_count, Taps::kAtOnce));
  for (int64_t chunk = 0; chunk < roi_count; chunk += Taps::kAtOnce) {
    const int64_t count = std::min(Taps::kAtOnce, roi_count - chunk);
    std::vector<int64_t> images{0};  // where each image's RoIs begin in this chunk, and the end
    for (int64_t k = 1; k < count; ++k)
      if (image_of(order[chunk + k]) != image_of(order[chunk + k - 1])) images.push_back(k);
    images.push_back(count);

    parallel_for(0, count, 16, [&](int64_t from, int64_t to) {
      typename Taps::Scratch scratch(height, width);
      for (int64_t k = from; k < to; ++k) {
        const int64_t roi = order[chunk + k];
        taps[k].prepare(rois + Taps::kRow * roi, roi, height, width, options, &scratch);
      }
    });
    const int64_t tasks = (static_cast<int64_t>(images.size()) - 1) * blocks;
    parallel_for(0, tasks, 1, [&](int64_t from, int64_t to) {
      std::vector<T> row(width);
      for (int64_t task = from; task < to; ++task) {
        const int64_t image = task / blocks, first_channel = task % blocks * block;
        const int64_t end_channel = std::min(first_channel + block, channels);
        for (int64_t k = images[image]; k < images[image + 1]; ++k)
          visit(taps[k], image_of(taps[k].index), first_channel, end_channel, row.data());
      }
    });
  }
}

}  // namespace d2_ops
