// What differs between compilers and devices.
#pragma once

#include <cstddef>

// A function compiled once per x86-64 level, the best one chosen when the library is loaded.
// Only code in (or inlined into) the marked function is cloned: call D2_OPS_INLINE bodies from it.
// Clang does not take the attribute beside [[maybe_unused]] and does not need it there.
#if !defined(__x86_64__) || !defined(__gnu_linux__) || defined(__CUDACC__) || defined(D2_OPS_NO_CLONES)
#define D2_OPS_CLONES [[maybe_unused]]
#elif defined(__clang__)
#define D2_OPS_HAVE_CLONES
#pragma clang diagnostic ignored "-Wunused-function"
#define D2_OPS_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#elif defined(__GNUC__)
#define D2_OPS_HAVE_CLONES
#define D2_OPS_CLONES \
  [[maybe_unused]] __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define D2_OPS_CLONES [[maybe_unused]]
#endif

#if defined(__GNUC__)
#define D2_OPS_INLINE inline __attribute__((always_inline))
#elif defined(_MSC_VER)
#define D2_OPS_INLINE __forceinline
#else
#define D2_OPS_INLINE inline
#endif

// A function that whoever loads the library looks up by its name.
#if defined(_WIN32)
#define D2_OPS_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define D2_OPS_EXPORT __attribute__((visibility("default")))
#else
#define D2_OPS_EXPORT
#endif

#if defined(__CUDACC__)
#define D2_OPS_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define D2_OPS_HOST_DEVICE D2_OPS_INLINE
#endif

namespace d2_ops {

// As many values as 64 bytes hold, with arithmetic lane by lane.
template <class T>
struct SixtyFourBytes {
#if defined(__GNUC__)
  typedef T Vector __attribute__((vector_size(64)));
#else
  struct Vector {
    T lanes[64 / sizeof(T)];
    T operator[](size_t i) const { return lanes[i]; }
    Vector operator*(const Vector& other) const {
      Vector product{};
      for (size_t i = 0; i < 64 / sizeof(T); ++i) product.lanes[i] = lanes[i] * other.lanes[i];
      return product;
    }
    Vector& operator+=(const Vector& other) {
      for (size_t i = 0; i < 64 / sizeof(T); ++i) lanes[i] += other.lanes[i];
      return *this;
    }
  };
#endif
};

}  // namespace d2_ops
