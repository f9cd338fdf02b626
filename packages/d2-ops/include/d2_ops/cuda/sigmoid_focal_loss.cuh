// The focal loss on the device. S: type of logits and targets, T: arithmetic and type of the losses.
#pragma once

#include <cstdint>

#include "../focal_loss.h"
#include "grid.cuh"

namespace d2_ops {

template <class S, class T, class Power>
__global__ void sigmoid_focal_loss(const S* logits, const S* targets, int64_t count, const FocalWeights<T> weights,
                                   const Power power, T* out) {
  for (int64_t i = first_item(); i < count; i += item_stride())
    out[i] = focal_loss(static_cast<T>(logits[i]), static_cast<T>(targets[i]), weights, power);
}

// sums: one per block, in an order that depends on the grid alone. Blocks have kThreads threads.
template <class S, class T, class Power>
__global__ void sigmoid_focal_loss_sums(const S* logits, const S* targets, int64_t count,
                                        const FocalWeights<T> weights, const Power power, T* sums) {
  __shared__ T of_threads[kThreads];
  T sum = 0;
  for (int64_t i = first_item(); i < count; i += item_stride())
    sum += focal_loss(static_cast<T>(logits[i]), static_cast<T>(targets[i]), weights, power);
  of_threads[threadIdx.x] = sum;
  __syncthreads();
  for (int width = kThreads / 2; width > 0; width /= 2) {
    if (threadIdx.x < width) of_threads[threadIdx.x] += of_threads[threadIdx.x + width];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = of_threads[0];
}

// grad: of each loss with a stride of 1, or of their sum with a stride of 0.
template <class S, class T, class Power>
__global__ void sigmoid_focal_loss_backward(const S* logits, const S* targets, const T* grad, int64_t grad_stride,
                                            int64_t count, const FocalWeights<T> weights, const Power power, S* out) {
  for (int64_t i = first_item(); i < count; i += item_stride())
    out[i] = static_cast<S>(grad[i * grad_stride] *
                            focal_slope(static_cast<T>(logits[i]), static_cast<T>(targets[i]), weights, power));
}

}  // namespace d2_ops
