// torch's thread pool, in the form the kernels take.
#pragma once

#include <torch/csrc/stable/ops.h>

namespace d2_ops {

struct TorchFor {
  template <class F>
  void operator()(int64_t begin, int64_t end, int64_t grain, const F& f) const {
    if (begin >= end) return;
    if (end - begin <= grain)
      f(begin, end);  // not worth entering the pool
    else
      torch::stable::parallel_for(begin, end, grain, f);
  }
};

}  // namespace d2_ops
