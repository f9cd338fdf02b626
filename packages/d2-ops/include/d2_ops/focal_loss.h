// The focal loss of one logit and its derivative.
//
// weight * (1 - p_t)^gamma * cross entropy, with the probability p of a logit x, a target t from 0
// to 1 and p_t = p t + (1 - p)(1 - t). Everything comes from exp(-|x|), so nothing overflows or
// cancels. Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
#pragma once

#include <cmath>

#include "elementary.h"
#include "platform.h"

namespace d2_ops {

template <class T>
struct FocalWeights {
  T negative, positive;
};

// alpha weighs positives against negatives; a negative one weighs nothing.
template <class T>
FocalWeights<T> focal_weights(double alpha) {
  if (alpha < 0) return {T(1), T(1)};
  return {static_cast<T>(1 - alpha), static_cast<T>(alpha)};
}

// (1 - p_t)^gamma and its slope: for the exponent that everyone uses, for any other, and for 0.
struct Squared {
  template <class T>
  D2_OPS_HOST_DEVICE T of(T x) const {
    return x * x;
  }
  template <class T>
  D2_OPS_HOST_DEVICE T slope(T x) const {
    return x + x;
  }
};

struct Powered {
  double gamma;  // not 0

  template <class T>
  D2_OPS_HOST_DEVICE T of(T x) const {
    return power_of_unit(x, static_cast<T>(gamma));
  }
  template <class T>
  D2_OPS_HOST_DEVICE T slope(T x) const {
    return static_cast<T>(gamma) * power_of_unit(x, static_cast<T>(gamma - 1));
  }
};

struct Unpowered {
  template <class T>
  D2_OPS_HOST_DEVICE T of(T) const {
    return T(1);
  }
  template <class T>
  D2_OPS_HOST_DEVICE T slope(T) const {
    return T(0);
  }
};

template <class T>
struct FocalTerms {
  T probability, complement;  // p, 1 - p
  T miss;                     // 1 - p_t
  T cross_entropy;
  T weight;
};

template <class T>
D2_OPS_HOST_DEVICE FocalTerms<T> focal_terms(T logit, T target, const FocalWeights<T>& weights) {
  const T e = exponential(logit < T(0) ? logit : -logit), scale = T(1) / (T(1) + e), small = e * scale;
  FocalTerms<T> terms;
  terms.probability = logit < T(0) ? small : scale;
  terms.complement = logit < T(0) ? scale : small;
  terms.miss = terms.probability * (T(1) - target) + terms.complement * target;
  terms.cross_entropy = (logit > T(0) ? logit : T(0)) - logit * target + log1p_of_unit(e);
  terms.weight = weights.negative * (T(1) - target) + weights.positive * target;
  return terms;
}

template <class T, class Power>
D2_OPS_HOST_DEVICE T focal_loss(T logit, T target, const FocalWeights<T>& weights, const Power& power) {
  const FocalTerms<T> terms = focal_terms(logit, target, weights);
  return terms.weight * power.of(terms.miss) * terms.cross_entropy;
}

// By the logit.
template <class T, class Power>
D2_OPS_HOST_DEVICE T focal_slope(T logit, T target, const FocalWeights<T>& weights, const Power& power) {
  const FocalTerms<T> terms = focal_terms(logit, target, weights);
  const T miss_slope = terms.probability * terms.complement * (T(1) - (target + target));
  // p - t without cancellation for the targets 0 and 1.
  const T entropy_slope = terms.probability * (T(1) - target) - terms.complement * target;
  return terms.weight * (power.slope(terms.miss) * miss_slope * terms.cross_entropy +
                         power.of(terms.miss) * entropy_slope);
}

}  // namespace d2_ops
