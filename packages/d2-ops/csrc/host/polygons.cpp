// Polygons arrive flattened: all points in one array, with the ends of polygons and of instances
// beside it.
#include "d2_ops/polygon.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "arrays.h"
#include "encoded.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

using Points = Array<const double, nb::ndim<1>>;  // x, y, x, y, ...
using Ends = Array<const int64_t, nb::ndim<1>>;

Runs runs_of_polygons(const double* xy, const int64_t* ends, int64_t first, int64_t last, int64_t height,
                      int64_t width) {
  Runs runs;
  for (int64_t p = first; p < last; ++p) {
    const int64_t begin = p == 0 ? 0 : ends[p - 1];
    if (!std::all_of(xy + begin, xy + ends[p], within_polygon_limit))
      throw std::invalid_argument("polygons[" + std::to_string(p) + "] has a coordinate that is NaN or beyond 2**28");
    append_polygon(xy + begin, (ends[p] - begin) / 2, height, width, &runs);
  }
  normalise(&runs);
  return runs;
}

void fill_polygons(Points points, Ends ends, Array<uint8_t, nb::ndim<2>> mask) {
  nb::gil_scoped_release unlocked;
  const int64_t height = mask.shape(0), width = mask.shape(1);
  const Runs runs = runs_of_polygons(points.data(), ends.data(), 0, ends.shape(0), height, width);
  mask_of_runs(runs, height, width, mask.data());
}

nb::bytes polygons_to_counts(Points points, Ends ends, int64_t height, int64_t width) {
  Runs runs;
  {
    nb::gil_scoped_release unlocked;
    runs = runs_of_polygons(points.data(), ends.data(), 0, ends.shape(0), height, width);
  }
  return encode(runs, height * width);
}

// Draws one instance's polygons in the frame of its box; false if that carries them out of range.
bool draw_cropped(const double* xy, const int64_t* ends, int64_t first, int64_t last, const CropFrame& frame,
                  int64_t size, uint8_t* mask) {
  Runs runs;
  std::vector<double> local;
  for (int64_t p = first; p < last; ++p) {
    local.assign(xy + (p == 0 ? 0 : ends[p - 1]), xy + ends[p]);
    for (size_t i = 0; i < local.size(); i += 2) {
      local[i] = (local[i] - frame.x) * frame.x_scale;
      local[i + 1] = (local[i + 1] - frame.y) * frame.y_scale;
    }
    if (!std::all_of(local.begin(), local.end(), within_polygon_limit)) return false;
    append_polygon(local.data(), local.size() / 2, size, size, &runs);
  }
  normalise(&runs);
  mask_of_runs(runs, size, size, mask);
  return true;
}

template <class T>
void crop_polygons(Points points, Ends ends, Ends instance_ends, Array<const T, nb::shape<-1, 4>> boxes,
                   Array<uint8_t, nb::ndim<3>> masks, int64_t threads) {
  std::atomic<int64_t> bad{-1};
  {
    nb::gil_scoped_release unlocked;
    const int64_t size = masks.shape(1);
    const int64_t* last = instance_ends.data();
    ThreadedFor{threads}(0, boxes.shape(0), 32, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n) {
        const CropFrame frame = crop_frame(boxes.data() + 4 * n, size);
        if (!draw_cropped(points.data(), ends.data(), n == 0 ? 0 : last[n - 1], last[n], frame, size,
                          masks.data() + n * size * size))
          bad = n;
      }
    });
  }
  if (bad >= 0)
    throw std::invalid_argument("polygons[" + std::to_string(bad) + "] in the frame of boxes[" + std::to_string(bad) +
                                "] has a coordinate that is NaN or beyond 2**28");
}

}  // namespace

void bind_polygons(nb::module_& m) {
  m.def("fill_polygons", &fill_polygons, nb::arg("points"), nb::arg("ends"), nb::arg("mask"));
  m.def("polygons_to_counts", &polygons_to_counts, nb::arg("points"), nb::arg("ends"), nb::arg("height"),
        nb::arg("width"));
  m.def("crop_polygons", &crop_polygons<float>, nb::arg("points"), nb::arg("ends"), nb::arg("instance_ends"),
        nb::arg("boxes"), nb::arg("masks"), nb::arg("threads"));
  m.def("crop_polygons", &crop_polygons<double>, nb::arg("points"), nb::arg("ends"), nb::arg("instance_ends"),
        nb::arg("boxes"), nb::arg("masks"), nb::arg("threads"));
}
