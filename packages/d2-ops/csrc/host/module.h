// The topics of the host module, one file each. NumPy in, NumPy out: arguments arrive checked and
// laid out by src/d2_ops/host/ and src/d2_ops/overlay.py.
#pragma once

#include <nanobind/nanobind.h>

void bind_bitmasks(nanobind::module_& m);
void bind_heatmaps(nanobind::module_& m);
void bind_coco_evaluation(nanobind::module_& m);
void bind_coco_results(nanobind::module_& m);
void bind_labels(nanobind::module_& m);
void bind_overlay(nanobind::module_& m);
void bind_pictures(nanobind::module_& m);
void bind_mask_overlaps(nanobind::module_& m);
void bind_polygons(nanobind::module_& m);
void bind_rle(nanobind::module_& m);
