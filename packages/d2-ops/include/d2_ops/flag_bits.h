// Bytes that are 0 or 1 as the bits of words, and which of those are set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "platform.h"

namespace d2_ops {

// 64 bytes of 0 and 1 as the bits of a word.
D2_OPS_INLINE uint64_t bits_of(const uint8_t* flags) {
  uint64_t bits = 0;
#if defined(__SSE2__)
  for (int64_t i = 0; i < 64; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(flags + i));
    bits |= static_cast<uint64_t>(_mm_movemask_epi8(_mm_cmpgt_epi8(bytes, _mm_setzero_si128()))) << i;
  }
#else
  for (int64_t i = 0; i < 64; i += 8) {  // the product's highest byte collects the flags; little-endian
    uint64_t eight;
    std::memcpy(&eight, flags + i, sizeof eight);
    bits |= (eight * uint64_t{0x0102040810204080} >> 56) << i;
  }
#endif
  return bits;
}

D2_OPS_INLINE int lowest_bit(uint64_t bits) {
#if defined(__GNUC__)
  return __builtin_ctzll(bits);
#else
  int place = 0;
  while (place < 63 && !(bits >> place & 1)) ++place;
  return place;
#endif
}

}  // namespace d2_ops
