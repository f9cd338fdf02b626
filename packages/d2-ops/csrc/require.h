// What bindings ask of arguments.
#pragma once

#include <sstream>
#include <stdexcept>

namespace d2_ops {

// Arrives in Python as ValueError, or with torch 2.15 and later as RuntimeError.
template <class... Args>
void require(bool condition, const Args&... message) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << message);
  throw std::invalid_argument(text.str());
}

}  // namespace d2_ops
