// A fixed set of integers and their ids, found with one probe.

#ifndef MAINSPRING_VOCABULARY_H_
#define MAINSPRING_VOCABULARY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mainspring/status.h"

namespace mainspring {

// Ids: 0 for the missing value -2^63, 1 for what is not listed, 2 + i for values[i].
//
// A perfect hash by displacement: the bijection PreMix64 scatters a value over 64 bits; its low bits name a
// bucket, whose pilot is XORed to the top `bits`, and that is the value's own slot. Position and bucket
// determine the top bits, so a slot need hold only the other 64 - bits of the scattered value to compare it
// whole, and the id fits beside them: 8 bytes a slot, no second probe, no false match.
class Vocabulary {
 public:
  // kBadSpec where a value is listed twice or is the missing one (`column` is the second's index).
  static Status Build(const std::int64_t* values, std::size_t size, Vocabulary* vocabulary);

  const std::uint64_t* slots() const { return slots_.data(); }
  const std::uint16_t* pilots() const { return pilots_.data(); }
  std::uint64_t key() const { return key_; }
  std::uint64_t bucket_mask() const { return pilots_.size() - 1; }
  int bits() const { return bits_; }

 private:
  bool TryKey(const std::int64_t* values, std::size_t size, std::uint64_t key);

  int bits_ = 1;
  std::uint64_t key_ = 0;
  std::vector<std::uint64_t> slots_;
  std::vector<std::uint16_t> pilots_;
};

}  // namespace mainspring

#endif  // MAINSPRING_VOCABULARY_H_
