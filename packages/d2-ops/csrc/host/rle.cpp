#include "d2_ops/rle.h"

#include <nanobind/stl/vector.h>

#include <vector>

#include "arrays.h"
#include "encoded.h"
#include "module.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

nb::bytes mask_to_counts(Array<const uint8_t, nb::ndim<2>> mask) {
  Runs runs;
  {
    nb::gil_scoped_release unlocked;
    runs = runs_of_mask(mask.data(), mask.shape(0), mask.shape(1));
  }
  return encode(runs, static_cast<int64_t>(mask.size()));
}

// Of a mask's transpose: its columns one after the other.
nb::bytes columns_to_counts(Array<const uint8_t, nb::ndim<2>> columns) {
  Runs runs;
  {
    nb::gil_scoped_release unlocked;
    runs = runs_of_columns(columns.data(), static_cast<int64_t>(columns.size()));
  }
  return encode(runs, static_cast<int64_t>(columns.size()));
}

std::vector<int64_t> lengths_of(const nb::bytes& counts) { return lengths_of_text({counts.c_str(), counts.size()}); }

void counts_to_mask(nb::bytes counts, Array<uint8_t, nb::ndim<2>> mask) {
  const int64_t height = mask.shape(0), width = mask.shape(1);
  const Runs runs = runs_of_lengths(lengths_of(counts), height * width);
  nb::gil_scoped_release unlocked;
  mask_of_runs(runs, height, width, mask.data());
}

int64_t counts_area(nb::bytes counts, int64_t height, int64_t width) {
  return area_of_lengths(lengths_of(counts), height * width);
}

nb::bytes lengths_to_counts(const std::vector<int64_t>& lengths, int64_t height, int64_t width) {
  return encode(runs_of_lengths(lengths, height * width), height * width);
}

}  // namespace

void bind_rle(nb::module_& m) {
  m.def("mask_to_counts", &mask_to_counts, nb::arg("mask"));
  m.def("columns_to_counts", &columns_to_counts, nb::arg("columns"));
  m.def("counts_to_mask", &counts_to_mask, nb::arg("counts"), nb::arg("mask"));
  m.def("counts_area", &counts_area, nb::arg("counts"), nb::arg("height"), nb::arg("width"));
  m.def("lengths_to_counts", &lengths_to_counts, nb::arg("lengths"), nb::arg("height"), nb::arg("width"));
}
