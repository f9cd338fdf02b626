// Overlaps as integers that order as they do, and the labels of overlaps.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "platform.h"

namespace d2_ops {

template <class T>
struct QualityBits;
template <>
struct QualityBits<float> {
  using Key = int32_t;
  static constexpr Key kMagnitude = 0x7fffffff, kNaN = 0x7fc00000;
};
template <>
struct QualityBits<double> {
  using Key = int64_t;
  static constexpr Key kMagnitude = 0x7fffffffffffffff, kNaN = 0x7ff8000000000000;
};

template <class T>
using QualityKey = typename QualityBits<T>::Key;

// Numbers that are not negative order as their bits do; any NaN is the largest.
template <class T>
D2_OPS_HOST_DEVICE QualityKey<T> quality_key(T quality) {
  QualityKey<T> key;
  std::memcpy(&key, &quality, sizeof(key));
  key &= QualityBits<T>::kMagnitude;
  return key < QualityBits<T>::kNaN ? key : QualityBits<T>::kNaN;
}

template <class T>
D2_OPS_HOST_DEVICE T quality_of(QualityKey<T> key) {
  T quality;
  std::memcpy(&quality, &key, sizeof(key));
  return quality;
}

// Label i counts from threshold i - 1 on, label 0 below all of them; NaN reaches every threshold.
template <class T>
struct MatchBins {
  static constexpr int64_t kMost = 16;

  D2_OPS_HOST_DEVICE int32_t label(T quality) const {
    int32_t label = labels[0];
    for (int64_t t = 0; t < count; ++t) label = quality < thresholds[t] ? label : labels[t + 1];
    return label;
  }

  int64_t count;
  T thresholds[kMost];  // increasing
  int32_t labels[kMost + 1];
};

}  // namespace d2_ops
