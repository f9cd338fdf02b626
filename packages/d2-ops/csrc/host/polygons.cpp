// Polygons arrive flattened: all points in one array, with the ends of polygons and of instances
// beside it, their coordinates known to be within the limit.
#include "d2_ops/polygon.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "arrays.h"
#include "d2_ops/rle.h"
#include "failures.h"
#include "module.h"
#include "texts.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

using Points = Array<const double, nb::ndim<1>>;  // x, y, x, y, ...
using Ends = Array<const int64_t, nb::ndim<1>>;

struct Polygons {
  const double* xy;
  const int64_t *ends, *instance_ends;

  Polygons(const Points& points, const Ends& polygon_ends, const Ends& ends_of_instances)
      : xy(points.data()), ends(polygon_ends.data()), instance_ends(ends_of_instances.data()) {}

  // Calls visit(coordinates, their number) for the polygons of instance n.
  template <class Visit>
  void for_each_of(int64_t n, const Visit& visit) const {
    for (int64_t p = n == 0 ? 0 : instance_ends[n - 1]; p < instance_ends[n]; ++p) {
      const int64_t begin = p == 0 ? 0 : ends[p - 1];
      visit(xy + begin, ends[p] - begin);
    }
  }

  Runs runs_of(int64_t n, int64_t height, int64_t width) const {
    Runs runs;
    for_each_of(n, [&](const double* polygon, int64_t size) { append_polygon(polygon, size / 2, height, width, &runs); });
    normalise(&runs);
    return runs;
  }
};

void fill_polygons(Points points, Ends ends, Ends instance_ends, Array<uint8_t, nb::ndim<3>> masks, int64_t threads) {
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const Polygons polygons(points, ends, instance_ends);
    const int64_t height = masks.shape(1), width = masks.shape(2);
    ThreadedFor{threads}(0, masks.shape(0), 1 + (1 << 18) / (height * width + 1), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          mask_of_runs(polygons.runs_of(n, height, width), height, width, masks.data() + n * height * width);
        });
    });
  }
  failure.raise("polygons");
}

nb::list polygons_to_counts(Points points, Ends ends, Ends instance_ends, int64_t height, int64_t width,
                            int64_t threads) {
  std::vector<std::string> texts(instance_ends.shape(0));
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const Polygons polygons(points, ends, instance_ends);
    ThreadedFor{threads}(0, texts.size(), 32, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] { texts[n] = text_of_runs(polygons.runs_of(n, height, width), height * width); });
    });
  }
  failure.raise("polygons");
  return list_of_texts(texts);
}

// Draws one instance's polygons in the frame of its box.
void draw_cropped(const Polygons& polygons, int64_t n, const CropFrame& frame, int64_t size, uint8_t* mask) {
  Runs runs;
  std::vector<double> local;
  polygons.for_each_of(n, [&](const double* polygon, int64_t count) {
    local.assign(polygon, polygon + count);
    for (size_t i = 0; i < local.size(); i += 2) {
      local[i] = (local[i] - frame.x) * frame.x_scale;
      local[i + 1] = (local[i + 1] - frame.y) * frame.y_scale;
    }
    if (!std::all_of(local.begin(), local.end(), within_polygon_limit))
      throw std::invalid_argument("in the frame of its box a coordinate is NaN or beyond 2**28");
    append_polygon(local.data(), count / 2, size, size, &runs);
  });
  normalise(&runs);
  mask_of_runs(runs, size, size, mask);
}

template <class T>
void crop_polygons(Points points, Ends ends, Ends instance_ends, Array<const T, nb::shape<-1, 4>> boxes,
                   Array<uint8_t, nb::ndim<3>> masks, int64_t threads) {
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const Polygons polygons(points, ends, instance_ends);
    const int64_t size = masks.shape(1);
    ThreadedFor{threads}(0, boxes.shape(0), 64, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          draw_cropped(polygons, n, crop_frame(boxes.data() + 4 * n, size), size, masks.data() + n * size * size);
        });
    });
  }
  failure.raise("polygons");
}

}  // namespace

void bind_polygons(nb::module_& m) {
  m.def("fill_polygons", &fill_polygons, nb::arg("points"), nb::arg("ends"), nb::arg("instance_ends"),
        nb::arg("masks"), nb::arg("threads"));
  m.def("polygons_to_counts", &polygons_to_counts, nb::arg("points"), nb::arg("ends"), nb::arg("instance_ends"),
        nb::arg("height"), nb::arg("width"), nb::arg("threads"));
  m.def("crop_polygons", &crop_polygons<float>, nb::arg("points"), nb::arg("ends"), nb::arg("instance_ends"),
        nb::arg("boxes"), nb::arg("masks"), nb::arg("threads"));
  m.def("crop_polygons", &crop_polygons<double>, nb::arg("points"), nb::arg("ends"), nb::arg("instance_ends"),
        nb::arg("boxes"), nb::arg("masks"), nb::arg("threads"));
}
