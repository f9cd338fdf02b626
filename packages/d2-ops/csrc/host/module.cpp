#include "module.h"

NB_MODULE(_host, m) {
  bind_bitmasks(m);
  bind_heatmaps(m);
  bind_coco_evaluation(m);
  bind_coco_results(m);
  bind_labels(m);
  bind_overlay(m);
  bind_pictures(m);
  bind_mask_overlaps(m);
  bind_polygons(m);
  bind_rle(m);
}
