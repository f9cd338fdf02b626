// exp, log and powers in a form that compilers vectorise.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "platform.h"

namespace d2_ops {

// Within 2 ulp from -87 to 88; 0 below and infinity above, about where normal numbers end.
D2_OPS_HOST_DEVICE float exponential(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);
#else
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  constexpr uint32_t kRoundBits = 0x4b400000, kBias = 127;
  const float above = x < -88.0f ? -88.0f : x, bounded = above > 89.0f ? 89.0f : above;
  const float shifted = bounded * 1.44269504f + kRound, halvings = shifted - kRound;
  // ln 2 in two parts, the first of which multiplies without rounding. |r| <= ln 2 / 2.
  const float r = (bounded - halvings * 0.693359375f) + halvings * 2.12194440e-4f;
  // Minimax polynomial of Cephes' expf.
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // A power of two; its bits are those of 0 and infinity at the ends.
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits - kRoundBits + kBias) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return p * power;
#endif
}

D2_OPS_HOST_DEVICE double exponential(double x) { return exp(x); }

// log(1 + x) for 0 <= x <= 1, within 2 ulp: 2 artanh(x / (2 + x)), whose argument is at most 1/3.
D2_OPS_HOST_DEVICE float log1p_of_unit(float x) {
#if defined(__CUDA_ARCH__)
  return log1pf(x);
#else
  const float s = x / (2.0f + x), z = s * s;
  float p = 1.0f / 15;
  p = p * z + 1.0f / 13;
  p = p * z + 1.0f / 11;
  p = p * z + 1.0f / 9;
  p = p * z + 1.0f / 7;
  p = p * z + 1.0f / 5;
  p = p * z + 1.0f / 3;
  return 2.0f * (s + s * (p * z));
#endif
}

D2_OPS_HOST_DEVICE double log1p_of_unit(double x) { return log1p(x); }

// Of a normal positive number, within 2 ulp.
D2_OPS_HOST_DEVICE float logarithm(float x) {
#if defined(__CUDA_ARCH__)
  return logf(x);
#else
  constexpr int32_t kHalfRoot = 0x3f3504f3;  // the bits of sqrt(1/2)
  int32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const int32_t exponent = (bits - kHalfRoot) >> 23;
  bits -= exponent * (1 << 23);
  float fraction;  // from sqrt(1/2) to sqrt(2)
  std::memcpy(&fraction, &bits, sizeof(fraction));
  const float f = fraction - 1.0f, z = f * f, e = static_cast<float>(exponent);
  // Minimax polynomial of Cephes' logf, and ln 2 in two parts.
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  return (f + ((f * z * p - 2.12194440e-4f * e) - 0.5f * z)) + 0.693359375f * e;
#endif
}

// x^y for 0 <= x <= 1. What is smaller than the smallest normal number counts as that, so a negative
// y gives no infinity.
D2_OPS_HOST_DEVICE float power_of_unit(float x, float y) {
  constexpr float kLeast = FLT_MIN;  // what limits has are functions of the host, to nvcc 12
  return exponential(y * logarithm(x > kLeast ? x : kLeast));
}

D2_OPS_HOST_DEVICE double power_of_unit(double x, double y) {
  constexpr double kLeast = DBL_MIN;
  return pow(x > kLeast ? x : kLeast, y);
}

}  // namespace d2_ops
