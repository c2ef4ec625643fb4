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
// A perfect hash by displacement: a bijection scatters a word over all its bits; its low bits name a bucket,
// whose pilot is XORed to its top `bits`, and that is the word's own slot. Position and bucket determine the
// top bits, so a slot need hold only the other bits of the scattered word to compare it whole, and the id
// fits beside them: one probe, no false match, a slot as wide as a word.
//
// Where all values lie within less than 2^32 of one another the word has 32 bits (10,000 values: 64 KiB): the
// distance from the smallest, span + 1 for whatever lies outside, span + 2 for the missing value. Otherwise
// it has 64: the value.
class Vocabulary {
 public:
  // kBadSpec where a value is listed twice or is the missing one.
  static Status Build(const std::int64_t* values, std::size_t size, Vocabulary* vocabulary);

  bool is_narrow() const { return is_narrow_; }
  // uint32_t or uint64_t: a scattered word without its top bits, shifted up; below them the id.
  const void* slots() const {
    return is_narrow_ ? static_cast<const void*>(narrow_.data()) : static_cast<const void*>(wide_.data());
  }
  const std::uint16_t* pilots() const { return pilots_.data(); }
  std::uint64_t bucket_mask() const { return pilots_.size() - 1; }
  int bits() const { return bits_; }
  std::uint64_t key() const { return key_; }    // XORed to the word before it is scattered
  std::int64_t base() const { return base_; }   // the smallest value
  std::uint64_t span() const { return span_; }  // the largest one's distance from it

 private:
  template <typename Word>
  bool TryKey(const std::vector<Word>& words, std::uint64_t key, std::vector<Word>* slots);
  template <typename Word>
  Status Fill(const std::vector<Word>& words, std::vector<Word>* slots);

  bool is_narrow_ = true;
  int bits_ = 1;
  std::uint64_t key_ = 0;
  std::int64_t base_ = 0;
  std::uint64_t span_ = 0;
  std::vector<std::uint32_t> narrow_;
  std::vector<std::uint64_t> wide_;
  std::vector<std::uint16_t> pilots_;
};

}  // namespace mainspring

#endif  // MAINSPRING_VOCABULARY_H_
