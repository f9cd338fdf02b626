// Masks stored column after column, in the order of their pixels' numbers, as runs.
#pragma once

#include <cstdint>
#include <vector>

#include "flag_bits.h"
#include "platform.h"
#include "runs.h"

namespace d2_ops {
namespace runs_detail {

// Steps through a mask and notes which pixels differ from the one before them. Most blocks are all
// like the pixel before them and are only read; of the others every pixel is looked at, 64 at once.
class ChangeFinder {
 public:
  static constexpr int64_t kBlock = 256;

  ChangeFinder(const uint8_t* mask, int64_t first) : mask_(mask), at_(first) {}  // not pixel 0

  bool has_block_before(int64_t end) const { return at_ + kBlock <= end; }

  D2_OPS_INLINE void look_at_block() {
    const uint64_t alike = mask_[at_ - 1] * uint64_t{0x0101010101010101};
    uint64_t any = 0;
    for (int64_t k = at_; k < at_ + kBlock; k += 8) any |= load_word(mask_ + k) ^ alike;
    if (any != 0) note_changes();
    at_ += kBlock;
  }

  void finish(int64_t end, std::vector<int64_t>* changes) {
    while (has_block_before(end)) look_at_block();
    changes->insert(changes->end(), changes_.begin(), changes_.begin() + count_);
    for (; at_ < end; ++at_)
      if (mask_[at_] != mask_[at_ - 1]) changes->push_back(at_);
  }

 private:
  D2_OPS_INLINE void note_changes() {
    if (static_cast<int64_t>(changes_.size()) < count_ + kBlock) changes_.resize(2 * count_ + kBlock);
    for (int64_t word = at_; word < at_ + kBlock; word += 64) {
      uint8_t changed[64];
      for (int64_t k = 0; k < 64; ++k) changed[k] = mask_[word + k] != mask_[word + k - 1];
      for (uint64_t bits = bits_of(changed); bits != 0; bits &= bits - 1)
        changes_[count_++] = word + lowest_bit(bits);
    }
  }

  const uint8_t* mask_;
  int64_t at_;
  std::vector<int64_t> changes_;  // room for more than the first `count_`, which are the changes
  int64_t count_ = 0;
};

D2_OPS_CLONES static void look_at_both(ChangeFinder* first, int64_t middle, ChangeFinder* second, int64_t end) {
  while (first->has_block_before(middle) && second->has_block_before(end)) {
    first->look_at_block();
    second->look_at_block();
  }
}

}  // namespace runs_detail

// Runs of a mask of 0 and 1 that is stored column after column. What takes the time is to read it:
// memory gives more where two places are asked for at once.
inline Runs runs_of_columns(const uint8_t* mask, int64_t pixels) {
  if (pixels == 0) return {};
  const int64_t middle = 1 + pixels / 2;
  runs_detail::ChangeFinder first(mask, 1), second(mask, middle);
  runs_detail::look_at_both(&first, middle, &second, pixels);
  std::vector<int64_t> changes;
  if (mask[0]) changes.push_back(0);
  first.finish(middle, &changes);
  second.finish(pixels, &changes);
  return runs_detail::runs_between(changes, pixels);
}

}  // namespace d2_ops
