// Positions of scores by decreasing score: NaN first, equal scores in input order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "radix_sort.h"

namespace d2_ops {

// An unsigned integer that sorts ascending where the score sorts descending.
template <class S>
auto descending_key(S score) {
  using Key = std::conditional_t<sizeof(S) == 8, uint64_t, uint32_t>;
  if (score != score) return Key(0);
  score += S(0);  // -0 equals +0
  Key bits;
  std::memcpy(&bits, &score, sizeof bits);
  constexpr Key sign = Key(1) << (8 * sizeof(Key) - 1);
  return bits & sign ? bits : static_cast<Key>(~bits & ~sign);
}

template <class S>
std::vector<int64_t> order_by_score(const S* scores, int64_t n) {
  struct Ranked {
    decltype(descending_key(S{})) key;
    uint32_t index;
  };
  std::vector<Ranked> ranked(n);
  for (int64_t i = 0; i < n; ++i) ranked[i] = {descending_key(scores[i]), static_cast<uint32_t>(i)};
  radix_sort(&ranked);
  std::vector<int64_t> order(n);
  std::transform(ranked.begin(), ranked.end(), order.begin(), [](const Ranked& r) { return r.index; });
  return order;
}

}  // namespace d2_ops
