// How the kernels are given threads: anything callable as
// parallel_for(begin, end, grain, f) that runs f(b, e) over a partition of [begin, end).
#pragma once

#include <cstdint>

namespace d2_ops {

struct SerialFor {
  template <class F>
  void operator()(int64_t begin, int64_t end, int64_t /*grain*/, const F& f) const {
    if (begin < end) f(begin, end);
  }
};

}  // namespace d2_ops
