// Decodes and clips boxes on the device, one thread per decoded box.
#pragma once

#include <cstdint>

#include "../box_coding.h"
#include "grid.cuh"

namespace d2_ops {

// boxes: count / per_box rows.
template <class Coding, class T>
__global__ void decode_boxes(const T* deltas, const T* boxes, int64_t count, int64_t per_box,
                             const CodingOptions<T> options, T* out) {
  for (int64_t k = first_item(); k < count; k += item_stride())
    Coding::decode(deltas + Coding::kRow * k, boxes + Coding::kRow * (k / per_box), options, out + Coding::kRow * k);
}

template <class Coding, class T>
__global__ void clip_boxes(int64_t count, const ImageBounds<T> image, T* boxes, bool* keep) {
  for (int64_t k = first_item(); k < count; k += item_stride()) keep[k] = Coding::clip(image, boxes + Coding::kRow * k);
}

}  // namespace d2_ops
