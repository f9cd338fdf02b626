// exp and log1p in a form that compilers vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "platform.h"

namespace d2_ops {

// Within 2 ulp from -87 to 88; 0 below and infinity above, about where normal numbers end.
D2_OPS_HOST_DEVICE float exponential(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);
#else
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  const float above = x > -87.0f ? x : -87.0f, bounded = above < 88.0f ? above : 88.0f;
  const float halvings = (bounded * 1.44269504f + kRound) - kRound;
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
  const int32_t bits = (static_cast<int32_t>(halvings) + 127) * (1 << 23);
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  const float inside = x < -87.0f ? 0.0f : p * power;
  const float value = x > 88.0f ? std::numeric_limits<float>::infinity() : inside;
  return x == x ? value : x;
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

}  // namespace d2_ops
