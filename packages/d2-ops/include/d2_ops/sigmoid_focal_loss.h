// The focal loss of many logits: each one, their sum, and the derivative.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "focal_loss.h"
#include "platform.h"

namespace d2_ops {
namespace sigmoid_focal_loss_detail {

constexpr int64_t kBlock = 2048;      // logits summed together
constexpr int64_t kLanes = 16;        // sums side by side, so that they vectorise
constexpr int64_t kGrain = 1 << 15;   // logits worth a thread

template <class T, class Power>
D2_OPS_INLINE void losses(const T* logits, const T* targets, int64_t count, const FocalWeights<T>& weights,
                          const Power& power, T* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = focal_loss(logits[i], targets[i], weights, power);
}

// In an order that depends on the count alone. count <= kBlock.
template <class T, class Power>
D2_OPS_INLINE T sum(const T* logits, const T* targets, int64_t count, const FocalWeights<T>& weights,
                    const Power& power) {
  T each[kBlock];
  losses(logits, targets, count, weights, power, each);
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += each[i + lane];
  for (int64_t lane = 0; i < count; ++i, ++lane) lanes[lane] += each[i];
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

template <class T, class Power>
D2_OPS_INLINE void slopes(const T* logits, const T* targets, const T* grad, int64_t grad_stride, int64_t count,
                          const FocalWeights<T>& weights, const Power& power, T* out) {
  for (int64_t i = 0; i < count; ++i)
    out[i] = grad[i * grad_stride] * focal_slope(logits[i], targets[i], weights, power);
}

#define D2_OPS_FOCAL_CLONES(T, Power)                                                                            \
  D2_OPS_CLONES static void block_losses(const T* logits, const T* targets, int64_t count,      \
                                                          const FocalWeights<T>& weights, const Power& power,    \
                                                          T* out) {                                              \
    losses(logits, targets, count, weights, power, out);                                                         \
  }                                                                                                              \
  D2_OPS_CLONES static T block_sum(const T* logits, const T* targets, int64_t count,            \
                                                    const FocalWeights<T>& weights, const Power& power) {        \
    return sum(logits, targets, count, weights, power);                                                          \
  }                                                                                                              \
  D2_OPS_CLONES static void block_slopes(const T* logits, const T* targets, const T* grad,      \
                                                          int64_t grad_stride, int64_t count,                    \
                                                          const FocalWeights<T>& weights, const Power& power,    \
                                                          T* out) {                                              \
    if (grad_stride == 0) /* known to the compiler, the loop vectorises better */                                \
      slopes(logits, targets, grad, 0, count, weights, power, out);                                              \
    else                                                                                                         \
      slopes(logits, targets, grad, 1, count, weights, power, out);                                              \
  }
D2_OPS_FOCAL_CLONES(float, Squared)
D2_OPS_FOCAL_CLONES(float, Powered)
D2_OPS_FOCAL_CLONES(float, Unpowered)
D2_OPS_FOCAL_CLONES(double, Squared)
D2_OPS_FOCAL_CLONES(double, Powered)
D2_OPS_FOCAL_CLONES(double, Unpowered)
#undef D2_OPS_FOCAL_CLONES

}  // namespace sigmoid_focal_loss_detail

// logits, targets, out: count numbers each.
template <class T, class Power, class ParallelFor>
void sigmoid_focal_loss(const T* logits, const T* targets, int64_t count, const FocalWeights<T>& weights,
                        const Power& power, T* out, const ParallelFor& parallel_for) {
  using namespace sigmoid_focal_loss_detail;
  parallel_for(0, count, kGrain, [&](int64_t from, int64_t to) {
    block_losses(logits + from, targets + from, to - from, weights, power, out + from);
  });
}

// Does not depend on the number of threads.
template <class T, class Power, class ParallelFor>
T sigmoid_focal_loss_sum(const T* logits, const T* targets, int64_t count, const FocalWeights<T>& weights,
                         const Power& power, const ParallelFor& parallel_for) {
  using namespace sigmoid_focal_loss_detail;
  std::vector<T> sums((count + kBlock - 1) / kBlock);
  const int64_t blocks = static_cast<int64_t>(sums.size());
  parallel_for(0, blocks, kGrain / kBlock, [&](int64_t from, int64_t to) {
    for (int64_t block = from; block < to; ++block) {
      const int64_t begin = block * kBlock;
      sums[block] = block_sum(logits + begin, targets + begin, std::min(kBlock, count - begin), weights, power);
    }
  });
  double total = 0;
  for (const T one : sums) total += static_cast<double>(one);
  return static_cast<T>(total);
}

// grad: of each loss with a stride of 1, or of their sum with a stride of 0.
template <class T, class Power, class ParallelFor>
void sigmoid_focal_loss_backward(const T* logits, const T* targets, const T* grad, int64_t grad_stride,
                                 int64_t count, const FocalWeights<T>& weights, const Power& power, T* out,
                                 const ParallelFor& parallel_for) {
  using namespace sigmoid_focal_loss_detail;
  parallel_for(0, count, kGrain, [&](int64_t from, int64_t to) {
    block_slopes(logits + from, targets + from, grad + from * grad_stride, grad_stride, to - from, weights, power,
                 out + from);
  });
}

}  // namespace d2_ops
