// Planes whose pixels lie beside each other, so that kernels treat several planes at once.
//
// Only the last few channels, and planes that are visited too little to be worth a copy, are treated
// one by one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "platform.h"
#include "roi_planes.h"

namespace d2_ops {

constexpr int kPlanesTogether = 8;

using OnePlane = std::integral_constant<int, 1>;
using SeveralPlanes = std::integral_constant<int, kPlanesTogether>;

namespace interleaved_planes_detail {

template <class T>
D2_OPS_INLINE void interleave(const T* planes, int64_t pixels, T* out) {
  for (int64_t i = 0; i < pixels; ++i)
    for (int k = 0; k < kPlanesTogether; ++k) out[i * kPlanesTogether + k] = planes[k * pixels + i];
}

D2_OPS_CLONES static void interleave_planes(const float* planes, int64_t pixels, float* out) {
  interleave(planes, pixels, out);
}

D2_OPS_CLONES static void interleave_planes(const double* planes, int64_t pixels, double* out) {
  interleave(planes, pixels, out);
}

}  // namespace interleaved_planes_detail

// Calls visit(OnePlane or SeveralPlanes, pixels of the planes, first channel) for all channels of a task.
// visits: how many pixels of a plane will be read.
template <class T, class Visit>
void for_planes_of_task(const FeatureLevels<const T>& levels, const PlanesTask& task, int64_t visits,
                        std::vector<T>* storage, const Visit& visit) {
  const LevelShape& shape = levels.level[task.level];
  const int64_t pixels = shape.height * shape.width;
  int64_t c = task.first_channel;
  if (visits >= pixels) {  // otherwise interleaving would take longest
    storage->resize(std::max<size_t>(storage->size(), kPlanesTogether * pixels));
    for (; c + kPlanesTogether <= task.end_channel; c += kPlanesTogether) {
      interleaved_planes_detail::interleave_planes(levels.plane(task.level, task.image, c), pixels, storage->data());
      visit(SeveralPlanes{}, storage->data(), c);
    }
  }
  for (; c < task.end_channel; ++c) visit(OnePlane{}, levels.plane(task.level, task.image, c), c);
}

}  // namespace d2_ops
