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
constexpr int64_t kMostPlanes = 16;

// Some channels of one image on one level, and which RoIs of a chunk lie there.
struct PlanesTask {
  int64_t level, image, first_roi, end_roi, first_channel, end_channel;
};

namespace roi_planes_detail {

// The tasks of each image of each level, for RoIs sorted by level and image.
template <class T, class PlanesOf, class LevelOf, class ImageOf>
std::vector<PlanesTask> tasks_of(const FeatureLevels<T>& levels, int64_t roi_count, const PlanesOf& planes_of,
                                 const LevelOf& level_of, const ImageOf& image_of) {
  std::vector<PlanesTask> tasks;
  for (int64_t first = 0, end; first < roi_count; first = end) {
    const int64_t level = level_of(first), image = image_of(first);
    for (end = first + 1; end < roi_count && level_of(end) == level && image_of(end) == image;) ++end;
    const int64_t block = planes_of(levels.level[level]);
    for (int64_t c = 0; c < levels.channels; c += block)
      tasks.push_back({level, image, first, end, c, std::min(c + block, levels.channels)});
  }
  // Neighbouring tasks go to one thread: deal every thread its part of the channels of every level.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const PlanesTask& a, const PlanesTask& b) { return a.first_channel < b.first_channel; });
  return tasks;
}

}  // namespace roi_planes_detail

// Calls visit(taps, how many) for chunks of the RoIs, by level and image and there from top to bottom.
//
// Taps is a RoI ready to be applied to any plane: it has `index`, kRow (numbers per RoI), kAtOnce (which
// bounds the memory), prepare(row, index, level shape, options, scratch), the thread's Scratch for that,
// and its Buffer for visits.
template <class Taps, class F, class T, class Options, class ParallelFor, class Visit>
void for_each_chunk(const FeatureLevels<F>& levels, const T* rois, int64_t roi_count, const Options& options,
                    const ParallelFor& parallel_for, const Visit& visit) {
  std::vector<int64_t> order(roi_count);
  std::iota(order.begin(), order.end(), 0);
  const auto image_of = [&](int64_t roi) { return static_cast<int64_t>(rois[Taps::kRow * roi]); };
  const auto key_of = [&](int64_t roi) {
    const T top = rois[Taps::kRow * roi + 2];
    return std::tuple(levels.level_of(roi), image_of(roi), top == top ? top : T(0));
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key_of(a) < key_of(b); });

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
    visit(static_cast<const Taps*>(taps.data()), count);
  }
}

// Calls visit(task, taps of the task's first RoI, buffer) for blocks of the channels of every image and level.
// All visits of one plane happen on one thread, and RoIs follow each other from top to bottom. A task has
// planes_of(level shape) channels, as long as there are so many.
template <class Taps, class F, class T, class Options, class PlanesOf, class ParallelFor, class Visit>
void for_each_block(const FeatureLevels<F>& levels, const T* rois, int64_t roi_count, const Options& options,
                    const PlanesOf& planes_of, const ParallelFor& parallel_for, const Visit& visit) {
  for_each_chunk<Taps>(levels, rois, roi_count, options, parallel_for, [&](const Taps* taps, int64_t count) {
    const std::vector<PlanesTask> tasks = roi_planes_detail::tasks_of(
        levels, count, planes_of, [&](int64_t k) { return levels.level_of(taps[k].index); },
        [&](int64_t k) { return static_cast<int64_t>(rois[Taps::kRow * taps[k].index]); });
    parallel_for(0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t from, int64_t to) {
      typename Taps::Buffer buffer;
      for (int64_t t = from; t < to; ++t) visit(tasks[t], taps + tasks[t].first_roi, &buffer);
    });
  });
}

// for_each_block of as many planes as fit a cache, a multiple of least_planes.
template <class Taps, class F, class T, class Options, class ParallelFor, class Visit>
void for_each_task(const FeatureLevels<F>& levels, const T* rois, int64_t roi_count, const Options& options,
                   int64_t least_planes, const ParallelFor& parallel_for, const Visit& visit) {
  const auto planes_of = [&](const LevelShape& shape) {
    const int64_t plane_bytes = std::max<int64_t>(shape.height * shape.width * sizeof(T), 1);
    return std::clamp<int64_t>(kPlanesBytes / plane_bytes, least_planes, kMostPlanes) / least_planes * least_planes;
  };
  for_each_block<Taps>(levels, rois, roi_count, options, planes_of, parallel_for, visit);
}

// Calls visit(taps, level, image, first channel, end channel, buffer) for every RoI of every task.
template <class Taps, class F, class T, class Options, class ParallelFor, class Visit>
void for_each_plane(const FeatureLevels<F>& levels, const T* rois, int64_t roi_count, const Options& options,
                    const ParallelFor& parallel_for, const Visit& visit) {
  for_each_task<Taps>(levels, rois, roi_count, options, 1, parallel_for,
                      [&](const PlanesTask& task, const Taps* taps, typename Taps::Buffer* buffer) {
                        for (int64_t k = 0; k < task.end_roi - task.first_roi; ++k)
                          visit(taps[k], task.level, task.image, task.first_channel, task.end_channel, buffer);
                      });
}

}  // namespace d2_ops
