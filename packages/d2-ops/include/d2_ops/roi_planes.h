// The order in which RoIs meet the planes of feature maps, forward and backward.
//
// Planes are the outer loop, so that a plane stays in cache while all its RoIs are pooled, and so
// that the backward pass needs no atomics and is deterministic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

#include "feature_levels.h"
#include "roi_geometry.h"

namespace d2_ops {

template <class T>
struct Tap {
  int32_t pixel;
  T weight;
};

constexpr int64_t kPlanesBytes = 512 * 1024;  // planes visited together, about an L2 cache

namespace roi_planes_detail {

// Channels of one image on one level, and the RoIs [first_roi, end_roi) of a chunk that lie there.
struct Task {
  int64_t level, image, first_roi, end_roi, first_channel, end_channel;
};

// The tasks of each image of each level, for RoIs sorted by level and image.
template <class T, class LevelOf, class ImageOf>
std::vector<Task> tasks_of(const FeatureLevels<T>& levels, int64_t roi_count, const LevelOf& level_of,
                           const ImageOf& image_of) {
  std::vector<Task> tasks;
  for (int64_t first = 0, end; first < roi_count; first = end) {
    const int64_t level = level_of(first), image = image_of(first);
    for (end = first + 1; end < roi_count && level_of(end) == level && image_of(end) == image;) ++end;
    const LevelShape& shape = levels.level[level];
    const int64_t plane_bytes = std::max<int64_t>(shape.height * shape.width * sizeof(T), 1);
    const int64_t block = std::clamp<int64_t>(kPlanesBytes / plane_bytes, 1, 16);
    for (int64_t c = 0; c < levels.channels; c += block)
      tasks.push_back({level, image, first, end, c, std::min(c + block, levels.channels)});
  }
  // Neighbouring tasks go to one thread: deal every thread its part of the channels of every level.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const Task& a, const Task& b) { return a.first_channel < b.first_channel; });
  return tasks;
}

}  // namespace roi_planes_detail

// Calls visit(taps, level, image, first channel, end channel, buffer) for every RoI and blocks of the
// channels of its image. All visits of one plane happen on one thread, in RoI order.
//
// Taps is a RoI ready to be applied to any plane: it has `index`, kRow (numbers per RoI), kAtOnce (which
// bounds the memory), prepare(row, index, level shape, options, scratch), the thread's Scratch for that,
// and its Buffer for visits, with fit(level shape).
template <class Taps, class F, class T, class Options, class ParallelFor, class Visit>
void for_each_plane(const FeatureLevels<F>& levels, const T* rois, int64_t roi_count, const Options& options,
                    const ParallelFor& parallel_for, const Visit& visit) {
  using roi_planes_detail::Task;
  std::vector<int64_t> order(roi_count);
  std::iota(order.begin(), order.end(), 0);
  const auto image_of = [&](int64_t roi) { return static_cast<int64_t>(rois[Taps::kRow * roi]); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::tuple(levels.level_of(a), image_of(a)) < std::tuple(levels.level_of(b), image_of(b));
  });

  std::vector<Taps> taps(std::min(roi_count, Taps::kAtOnce));
  for (int64_t chunk = 0; chunk < roi_count; chunk += Taps::kAtOnce) {
    const int64_t count = std::min(Taps::kAtOnce, roi_count - chunk);
    parallel_for(0, count, 16, [&](int64_t from, int64_t to) {
      typename Taps::Scratch scratch;
      for (int64_t k = from; k < to; ++k) {
        const int64_t roi = order[chunk + k];
        taps[k].prepare(rois + Taps::kRow * roi, roi, levels.level[levels.level_of(roi)], options, &scratch);
      }
    });
    const std::vector<Task> tasks = roi_planes_detail::tasks_of(
        levels, count, [&](int64_t k) { return levels.level_of(order[chunk + k]); },
        [&](int64_t k) { return image_of(order[chunk + k]); });
    parallel_for(0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t from, int64_t to) {
      typename Taps::Buffer buffer;
      for (int64_t t = from; t < to; ++t) {
        const Task& task = tasks[t];
        buffer.fit(levels.level[task.level]);
        for (int64_t k = task.first_roi; k < task.end_roi; ++k)
          visit(taps[k], task.level, task.image, task.first_channel, task.end_channel, &buffer);
      }
    });
  }
}

}  // namespace d2_ops
