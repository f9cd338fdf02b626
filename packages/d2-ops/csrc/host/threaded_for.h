// Threads for the host kernels, which know no torch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace d2_ops {

// Splits a range over up to `threads` threads, each with at least `grain` items. Rethrows what f
// threw, of the first part if several did.
struct ThreadedFor {
  int64_t threads;  // 0 or less: one per core

  template <class F>
  void operator()(int64_t begin, int64_t end, int64_t grain, const F& f) const {
    const int64_t cores = std::max<int64_t>(std::thread::hardware_concurrency(), 1);
    const int64_t items = end - begin;
    const int64_t wanted = std::min(threads > 0 ? threads : cores, items / std::max<int64_t>(grain, 1));
    if (wanted <= 1) {
      if (items > 0) f(begin, end);
      return;
    }
    std::vector<std::exception_ptr> errors(wanted);
    const auto part = [&](int64_t t) {
      try {
        f(begin + items * t / wanted, begin + items * (t + 1) / wanted);
      } catch (...) {
        errors[t] = std::current_exception();
      }
    };
    std::vector<std::thread> running;
    running.reserve(wanted - 1);
    for (int64_t t = 1; t < wanted; ++t) {
      try {
        running.emplace_back(part, t);
      } catch (const std::system_error&) {  // no more threads to be had
        part(t);
      }
    }
    part(0);
    for (std::thread& thread : running) thread.join();
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
  }
};

}  // namespace d2_ops
