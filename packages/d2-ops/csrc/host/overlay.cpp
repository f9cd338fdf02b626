// Drawing on pictures. Arguments arrive here checked and laid out by overlay.py; inks are rows of
// red, green, blue (0..255) and opacity (256ths).
#include "d2_ops/overlay.h"

#include <nanobind/stl/vector.h>

#include <vector>

#include "arrays.h"
#include "d2_ops/soften.h"
#include "d2_ops/stroke.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

using Planes = Array<uint8_t, nb::shape<3, -1, -1>>;
using Map = Array<const uint8_t, nb::ndim<2>>;
using Inks = Array<const uint16_t, nb::shape<-1, 4>>;

Picture picture_of(const Planes& planes) {
  return {planes.data(), static_cast<int64_t>(planes.shape(1)), static_cast<int64_t>(planes.shape(2))};
}

Ink ink_of(const Inks& inks, size_t i) {
  const uint16_t* ink = inks.data() + 4 * i;
  return {{ink[0], ink[1], ink[2]}, ink[3]};
}

void blend_maps(Planes planes, const std::vector<Map>& maps, Array<const int64_t, nb::shape<-1, 2>> corners,
                Inks fills, Inks edges, int64_t threads) {
  std::vector<Layer> layers;
  for (size_t i = 0; i < maps.size(); ++i)
    layers.push_back({maps[i].data(), corners.data()[2 * i], corners.data()[2 * i + 1],
                      static_cast<int64_t>(maps[i].shape(0)), static_cast<int64_t>(maps[i].shape(1)), ink_of(fills, i),
                      ink_of(edges, i)});
  nb::gil_scoped_release unlocked;
  blend_layers(picture_of(planes), layers.data(), static_cast<int64_t>(layers.size()), ThreadedFor{threads});
}

// Rectangles are x0, y0, x1, y1 with x0 <= x1 and y0 <= y1.
void fill_rectangles(Planes planes, Array<const int64_t, nb::shape<-1, 4>> rectangles, Inks inks, int64_t threads) {
  std::vector<Layer> layers;
  for (size_t i = 0; i < rectangles.shape(0); ++i) {
    const int64_t* r = rectangles.data() + 4 * i;
    layers.push_back({nullptr, r[0], r[1], r[3] - r[1], r[2] - r[0], ink_of(inks, i), {}});
  }
  nb::gil_scoped_release unlocked;
  blend_layers(picture_of(planes), layers.data(), static_cast<int64_t>(layers.size()), ThreadedFor{threads});
}

// Path i has the segments ends[i - 1] .. ends[i].
void stroke(Planes planes, Array<const double, nb::shape<-1, 4>> segments, Array<const int64_t, nb::ndim<1>> ends,
            Array<const double, nb::ndim<1>> widths, Inks inks, int64_t threads) {
  const auto* first = reinterpret_cast<const Segment*>(segments.data());
  std::vector<Path> paths;
  for (size_t i = 0; i < ends.shape(0); ++i) {
    const int64_t begin = i == 0 ? 0 : ends.data()[i - 1];
    paths.push_back({first + begin, ends.data()[i] - begin, widths.data()[i], ink_of(inks, i)});
  }
  nb::gil_scoped_release unlocked;
  stroke_paths(picture_of(planes), paths.data(), static_cast<int64_t>(paths.size()), ThreadedFor{threads});
}

void soften_mask(Map mask, Array<uint8_t, nb::ndim<2>> coverage, bool left, bool top) {
  const int64_t height = mask.shape(0), width = mask.shape(1);
  const Margins margins{left, top, static_cast<int64_t>(coverage.shape(1)) - width - left,
                        static_cast<int64_t>(coverage.shape(0)) - height - top};
  nb::gil_scoped_release unlocked;
  soften(mask.data(), height, width, margins, coverage.data());
}

}  // namespace

void bind_overlay(nb::module_& m) {
  m.def("blend_maps", &blend_maps, nb::arg("planes"), nb::arg("maps"), nb::arg("corners"), nb::arg("fills"),
        nb::arg("edges"), nb::arg("threads"));
  m.def("fill_rectangles", &fill_rectangles, nb::arg("planes"), nb::arg("rectangles"), nb::arg("inks"),
        nb::arg("threads"));
  m.def("stroke_paths", &stroke, nb::arg("planes"), nb::arg("segments"), nb::arg("ends"), nb::arg("widths"),
        nb::arg("inks"), nb::arg("threads"));
  m.def("soften_mask", &soften_mask, nb::arg("mask"), nb::arg("coverage"), nb::arg("left"), nb::arg("top"));
}
