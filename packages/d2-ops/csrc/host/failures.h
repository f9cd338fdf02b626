// Exceptions of many instances computed at a time on several threads.
#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>

namespace d2_ops {

// Remembers the failure of the first instance that has one, so that what is reported does not
// depend on the threads.
class FirstFailure {
 public:
  template <class F>
  void watch(int64_t index, const F& f) {
    try {
      f();
    } catch (...) {
      const std::lock_guard<std::mutex> held(mutex_);
      if (index_ >= 0 && index_ <= index) return;
      index_ = index;
      cause_ = std::current_exception();
    }
  }

  // Throws what was watched; bad arguments are called by `name` and their index.
  void raise(const char* name) const {
    if (index_ < 0) return;
    try {
      std::rethrow_exception(cause_);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ("[" + std::to_string(index_) + "]: ") + error.what());
    }
  }

 private:
  std::mutex mutex_;
  int64_t index_ = -1;
  std::exception_ptr cause_;
};

}  // namespace d2_ops
