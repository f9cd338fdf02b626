#include "d2_ops/cuda/roi_align_rotated.cuh"

#include "../roi_align_operators.h"
#include "roi_pooling.h"

D2_OPS_LIBRARY_IMPL(CUDA, m) { d2_ops::RotatedRoiAlign<d2_ops::PoolingKernels<d2_ops::RotatedBin>>::add_to(m); }
