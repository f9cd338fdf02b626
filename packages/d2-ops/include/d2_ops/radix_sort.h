// Stable sorting by unsigned integer keys.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace d2_ops {

// Sorts items by `key`, an unsigned member, in passes over its bytes from the lowest on.
template <class Item>
void radix_sort(std::vector<Item>* items) {
  using Key = decltype(Item::key);
  if (items->size() < 64) {  // clearing the counts would take longer
    std::stable_sort(items->begin(), items->end(), [](const Item& a, const Item& b) { return a.key < b.key; });
    return;
  }
  std::array<std::array<size_t, 256>, sizeof(Key)> counts{};
  for (const Item& item : *items)
    for (size_t byte = 0; byte < sizeof(Key); ++byte) ++counts[byte][item.key >> (8 * byte) & 255];
  std::vector<Item> sorted(items->size());
  for (size_t byte = 0; byte < sizeof(Key); ++byte) {
    std::array<size_t, 256>& next = counts[byte];
    if (next[items->front().key >> (8 * byte) & 255] == items->size()) continue;  // all have the same byte here
    size_t begin = 0;
    for (size_t& count : next) {
      const size_t of_digit = count;
      count = begin;
      begin += of_digit;
    }
    for (const Item& item : *items) sorted[next[item.key >> (8 * byte) & 255]++] = item;
    items->swap(sorted);
  }
}

}  // namespace d2_ops
