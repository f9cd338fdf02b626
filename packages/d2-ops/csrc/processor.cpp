// Which x86-64 level this processor has, where the compiler's runtime does not say: the one that
// comes with zig leaves it at zero, and cloned functions would all be the slowest.
#include <cpuid.h>

#include <cstdint>

extern "C" {

// Names and bits that clang's code for target_clones reads.
__attribute__((visibility("hidden"))) struct {
  unsigned vendor, type, subtype, features[1];
} __cpu_model;
__attribute__((visibility("hidden"))) unsigned __cpu_features2[3];

__attribute__((visibility("hidden"), constructor(101))) int __cpu_indicator_init() {
  if (__cpu_model.vendor) return 0;
  __cpu_model.vendor = 1;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const unsigned wanted_1c = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C | bit_SSE4_2;
  if ((c & wanted_1c) != wanted_1c) return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // registers that the system saves
  unsigned a7, b7, c7, d7, ax, bx, cx, dx;
  if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7) || !__get_cpuid(0x80000001, &ax, &bx, &cx, &dx)) return 0;
  const unsigned v3 = bit_AVX2 | bit_BMI | bit_BMI2, lzcnt = 1u << 5;
  if ((low & 0x6) != 0x6 || (b7 & v3) != v3 || !(cx & lzcnt)) return 0;
  __cpu_features2[2] |= 1u << 1;  // x86-64-v3: bit 97
  const unsigned v4 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
  if ((low & 0xe6) == 0xe6 && (b7 & v4) == v4) __cpu_features2[2] |= 1u << 2;  // x86-64-v4
  return 0;
}
}
