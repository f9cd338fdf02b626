// Work of uneven size: each thread takes the next unit when it has done its last one.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

namespace d2_ops {

// Calls f(state, unit) for every unit in [0, units), `state` being what make_state() gave the thread.
// Rethrows what f threw, of the lowest unit if several did.
template <class ParallelFor, class MakeState, class F>
void for_each_unit(const ParallelFor& parallel_for, int64_t units, const MakeState& make_state, const F& f) {
  std::atomic<int64_t> next{0};
  std::mutex guard;
  std::exception_ptr error;
  int64_t failed = units;
  parallel_for(0, units, 1, [&](int64_t, int64_t) {
    int64_t unit = -1;
    try {
      auto state = make_state();
      while ((unit = next.fetch_add(1)) < units) f(state, unit);
    } catch (...) {
      next = units;  // lower ones are done or under way
      const std::lock_guard<std::mutex> lock(guard);
      if (unit < failed) {
        failed = unit;
        error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace d2_ops
