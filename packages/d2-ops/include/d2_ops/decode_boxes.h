// Decodes boxes (box_coding.h), several per reference box, and clips them to an image.
#pragma once

#include <algorithm>
#include <cstdint>

#include "box_coding.h"
#include "platform.h"

namespace d2_ops {
namespace decode_boxes_detail {

constexpr int64_t kGrain = 1 << 12;  // boxes worth a thread

template <class Coding, class T>
D2_OPS_INLINE void decode(const T* deltas, const T* boxes, int64_t first, int64_t end, int64_t per_box,
                          const CodingOptions<T>& options, T* out) {
  for (int64_t n = first; n < end; ++n)
    for (int64_t k = n * per_box; k < (n + 1) * per_box; ++k)
      Coding::decode(deltas + Coding::kRow * k, boxes + Coding::kRow * n, options, out + Coding::kRow * k);
}

template <class Coding, class T>
D2_OPS_INLINE void clip(T* boxes, int64_t first, int64_t end, const ImageBounds<T>& image, bool* keep) {
  for (int64_t k = first; k < end; ++k) keep[k] = Coding::clip(image, boxes + Coding::kRow * k);
}

#define D2_OPS_DECODE_CLONES(Coding, T)                                                                           \
  D2_OPS_CLONES static void decode_rows(Coding, const T* deltas, const T* boxes, int64_t first, \
                                                         int64_t end, int64_t per_box,                            \
                                                         const CodingOptions<T>& options, T* out) {               \
    decode<Coding>(deltas, boxes, first, end, per_box, options, out);                                             \
  }                                                                                                               \
  D2_OPS_CLONES static void clip_rows(Coding, T* boxes, int64_t first, int64_t end,              \
                                                       const ImageBounds<T>& image, bool* keep) {                 \
    clip<Coding>(boxes, first, end, image, keep);                                                                 \
  }
D2_OPS_DECODE_CLONES(UprightCoding, float)
D2_OPS_DECODE_CLONES(UprightCoding, double)
D2_OPS_DECODE_CLONES(RotatedCoding, float)
D2_OPS_DECODE_CLONES(RotatedCoding, double)
#undef D2_OPS_DECODE_CLONES

}  // namespace decode_boxes_detail

// boxes: count rows; deltas, out: per_box rows for each of them.
template <class Coding, class T, class ParallelFor>
void decode_boxes(Coding coding, const T* deltas, const T* boxes, int64_t count, int64_t per_box,
                  const CodingOptions<T>& options, T* out, const ParallelFor& parallel_for) {
  using namespace decode_boxes_detail;
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(per_box, 1));
  parallel_for(0, count, grain, [&](int64_t first, int64_t end) {
    decode_rows(coding, deltas, boxes, first, end, per_box, options, out);
  });
}

// Also clips to the image; keep: per_box bytes for each box, 1 for those that were finite and
// are large enough.
template <class Coding, class T, class ParallelFor>
void decode_and_clip_boxes(Coding coding, const T* deltas, const T* boxes, int64_t count, int64_t per_box,
                           const CodingOptions<T>& options, const ImageBounds<T>& image, T* out, bool* keep,
                           const ParallelFor& parallel_for) {
  using namespace decode_boxes_detail;
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(per_box, 1));
  parallel_for(0, count, grain, [&](int64_t first, int64_t end) {
    decode_rows(coding, deltas, boxes, first, end, per_box, options, out);
    clip_rows(coding, out, first * per_box, end * per_box, image, keep);
  });
}

}  // namespace d2_ops
