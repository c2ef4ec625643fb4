// A fixed set of strings and their places, compared byte by byte.
// For units without a kernel only: what is inline here may not reach a unit of a newer instruction set.

#ifndef MAINSPRING_STRING_VOCABULARY_H_
#define MAINSPRING_STRING_VOCABULARY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mainspring/status.h"

namespace mainspring {

// An open table of half as many strings as slots. A slot keeps half of the XXH3, so that nearly all strings
// that are not listed cost one look, and the place of its string, which is then compared whole: two strings
// of one hash are still two strings. No output depends on the seed, which Build chooses.
class StringVocabulary {
 public:
  // kBadSpec where a string is empty (the missing one) or is listed twice.
  static Status Build(const std::vector<std::string>& values, StringVocabulary* vocabulary);

  // i of values[i], or -1. `data` may be null where size is 0.
  std::int64_t Find(const char* data, std::size_t size) const noexcept;

  std::size_t size() const { return ends_.size() - 1; }

 private:
  static constexpr std::uint32_t kEmpty = ~std::uint32_t{0};
  struct Slot {
    std::uint32_t tag = 0;         // the upper half of the hash
    std::uint32_t index = kEmpty;  // of the string
  };

  bool IsAt(std::uint32_t index, const char* data, std::size_t size) const noexcept;
  bool TrySeed(std::uint64_t seed, bool* is_twice);

  std::uint64_t seed_ = 0;
  std::vector<Slot> slots_ = std::vector<Slot>(2);  // a power of two
  std::vector<char> bytes_;                         // of all strings, one after another
  std::vector<std::uint64_t> ends_ = {0};           // string i: bytes ends_[i] .. ends_[i + 1] - 1
};

}  // namespace mainspring

#endif  // MAINSPRING_STRING_VOCABULARY_H_
