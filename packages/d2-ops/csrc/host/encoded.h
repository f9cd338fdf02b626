// Runs as the text that COCO's RLE dicts hold.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "d2_ops/rle.h"

namespace d2_ops {

inline nanobind::bytes encode(const Runs& runs, int64_t pixels) {
  const std::string text = text_of_lengths(lengths_of_runs(runs, pixels));
  return nanobind::bytes(text.data(), text.size());
}

}  // namespace d2_ops
