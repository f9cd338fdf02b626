// What differs between compilers and devices.
#pragma once

// A function compiled once per x86-64 level, the best one chosen when the library is loaded.
// Only code in (or inlined into) the marked function is cloned: call D2_OPS_INLINE bodies from it.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && \
    !defined(__CUDACC__) && !defined(D2_OPS_NO_CLONES)
#define D2_OPS_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define D2_OPS_CLONES
#endif

#if defined(__GNUC__)
#define D2_OPS_INLINE inline __attribute__((always_inline))
#else
#define D2_OPS_INLINE inline
#endif

#if defined(__CUDACC__)
#define D2_OPS_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define D2_OPS_HOST_DEVICE D2_OPS_INLINE
#endif
