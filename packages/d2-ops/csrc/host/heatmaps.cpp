#include "arrays.h"
#include "d2_ops/heatmap_peaks.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

void find_keypoints(Array<const float, nb::ndim<4>> maps, Array<const float, nb::shape<-1, 4>> rois,
                    Array<float, nb::shape<-1, -1, 4>> out, int64_t threads) {
  nb::gil_scoped_release unlocked;
  heatmaps_to_keypoints(maps.data(), rois.data(), maps.shape(0), maps.shape(1), maps.shape(2), maps.shape(3), out.data(),
                        ThreadedFor{threads});
}

}  // namespace

void bind_heatmaps(nb::module_& m) {
  m.def("find_keypoints", &find_keypoints, nb::arg("maps"), nb::arg("rois"), nb::arg("out"), nb::arg("threads"));
}
