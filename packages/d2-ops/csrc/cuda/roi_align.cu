#include "../roi_align_operators.h"
#include "roi_pooling.h"

D2_OPS_LIBRARY_IMPL(CUDA, m) { d2_ops::UprightRoiAlign<d2_ops::PoolingKernels<d2_ops::UprightBin>>::add_to(m); }
