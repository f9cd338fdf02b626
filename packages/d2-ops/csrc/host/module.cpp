#include "module.h"

#include "d2_ops/platform.h"

// The version of the kernels that D2_OPS_CLONES chooses on this processor.
static const char* chosen_kernels() {
#if defined(D2_OPS_HAVE_CLONES)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2)";
  return "x86-64 (SSE2)";
#elif defined(__aarch64__) || defined(_M_ARM64)
  return "arm64 (NEON)";
#else
  return "one version for every processor";
#endif
}

NB_MODULE(_host, m) {
  m.def("chosen_kernels", chosen_kernels);
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
