// A kernel in the form that torch calls, failing in a form that torch catches.
#pragma once

#include <torch/csrc/stable/library.h>

// Torch for Linux is built with libstdc++. A library that carries libc++, as cross-built wheels do,
// throws what torch takes for foreign and ends the process. There the kernel's failure is caught, and
// libstdc++ asked to throw it, from a function with nothing to unwind.
#if defined(_LIBCPP_VERSION) && defined(__linux__)
#include <cstdio>
#include <exception>
#include <stdexcept>

namespace d2_ops {

// Functions of libstdc++, which torch brings.
[[noreturn]] void throw_invalid_argument(const char*) __asm__("_ZSt24__throw_invalid_argumentPKc");
[[noreturn]] void throw_runtime_error(const char*) __asm__("_ZSt21__throw_runtime_errorPKc");

using BoxedKernel = void(StableIValue*, uint64_t, uint64_t);
constexpr int kLongestMessage = 4096;
enum class Failure { kNone, kArgument, kOther };

template <BoxedKernel* kernel>
__attribute__((noinline)) Failure attempt(StableIValue* stack, uint64_t arguments, uint64_t results,
                                          char* message) noexcept {
  Failure failure = Failure::kNone;
  try {
    kernel(stack, arguments, results);
  } catch (const std::invalid_argument& error) {
    std::snprintf(message, kLongestMessage, "%s", error.what());
    failure = Failure::kArgument;
  } catch (const std::exception& error) {
    std::snprintf(message, kLongestMessage, "%s", error.what());
    failure = Failure::kOther;
  } catch (...) {
    std::snprintf(message, kLongestMessage, "an unknown exception");
    failure = Failure::kOther;
  }
  return failure;
}

template <BoxedKernel* kernel>
void guarded(StableIValue* stack, uint64_t arguments, uint64_t results) {
  char message[kLongestMessage];
  const Failure failure = attempt<kernel>(stack, arguments, results, message);
  if (failure == Failure::kArgument) throw_invalid_argument(message);
  if (failure == Failure::kOther) throw_runtime_error(message);
}

}  // namespace d2_ops

#define D2_OPS_BOX(f) (&d2_ops::guarded<TORCH_BOX(f)>)
#else
#define D2_OPS_BOX(f) TORCH_BOX(f)
#endif
