// COCO's RLE dicts as arguments.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "d2_ops/rle.h"

namespace d2_ops {

// The text of one mask, which its owner keeps alive, or which had to be made of plain lengths.
struct EncodedMask {
  int64_t height, width;
  std::string_view text;
  nanobind::object owner;
  std::string made;

  std::string_view counts() const { return made.empty() ? text : made; }
  int64_t pixels() const { return height * width; }
  Runs runs() const { return runs_of_text(counts(), pixels()); }
  void require_size(int64_t wanted_height, int64_t wanted_width) const;
};

// Reads dicts with "size" and "counts" (bytes, text or plain lengths), or throws what names the
// argument and the index. The texts themselves are not looked at.
std::vector<EncodedMask> read_rles(const nanobind::list& rles, const char* name);

// The size of the first of those alone.
EncodedMask read_size(nanobind::handle rle, const char* name);

// Masks worth a thread, for work in proportion to the length of their texts.
int64_t masks_per_thread(const std::vector<EncodedMask>& masks);

}  // namespace d2_ops
