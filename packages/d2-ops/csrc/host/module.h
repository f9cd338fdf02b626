// The topics of the host module, one file each. NumPy in, NumPy out: arguments arrive checked and
// laid out by src/d2_ops/host/.
#pragma once

#include <nanobind/nanobind.h>

void bind_polygons(nanobind::module_& m);
void bind_rle(nanobind::module_& m);
