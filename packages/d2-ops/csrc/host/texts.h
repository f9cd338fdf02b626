// The texts of RLEs as Python's bytes.
#pragma once

#include <nanobind/nanobind.h>

#include <string>
#include <string_view>
#include <vector>

namespace d2_ops {

inline nanobind::bytes bytes_of(std::string_view text) { return nanobind::bytes(text.data(), text.size()); }

inline nanobind::list list_of_texts(const std::vector<std::string>& texts) {
  nanobind::list list;
  for (const std::string& text : texts) list.append(bytes_of(text));
  return list;
}

}  // namespace d2_ops
