// Pixels [first, end) of one axis of an image.
#pragma once

#include <cstdint>

namespace d2_ops {

struct PixelRange {
  int64_t first, end;
};

}  // namespace d2_ops
