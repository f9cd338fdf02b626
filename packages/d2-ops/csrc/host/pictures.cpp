#include "arrays.h"
#include "d2_ops/resample.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

void resize(Array<const uint8_t, nb::ndim<3>> picture, Array<uint8_t, nb::ndim<3>> planes, int64_t threads) {
  nb::gil_scoped_release unlocked;
  resize_picture(picture.data(), picture.shape(0), picture.shape(1), picture.shape(2), planes.shape(1), planes.shape(2),
                 planes.data(), ThreadedFor{threads});
}

}  // namespace

void bind_pictures(nb::module_& m) {
  m.def("resize_picture", &resize, nb::arg("picture"), nb::arg("planes"), nb::arg("threads"));
}
