#include "mainspring/string_vocabulary.h"

#include <cstring>
#include <utility>

#include "mainspring/hash.h"

namespace mainspring {
namespace {

// The longest walk from a string's own slot to where it lies. Chance makes one of some 5 ln n slots (80 of
// ten million strings); whoever picks strings for a seed they know can make longer ones, and meets another
// seed.
constexpr std::size_t kMaxWalk = 512;
constexpr std::uint64_t kMaxSeeds = 100;
constexpr std::size_t kMaxSize = std::size_t{1} << 29;  // that of a vocabulary of integers

std::uint32_t Tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }

}  // namespace

bool StringVocabulary::IsAt(std::uint32_t index, const char* data, std::size_t size) const noexcept {
  const std::uint64_t begin = ends_[index];
  return ends_[index + 1] - begin == size && std::memcmp(bytes_.data() + begin, data, size) == 0;
}

bool StringVocabulary::TrySeed(std::uint64_t seed, bool* is_twice) {
  seed_ = seed;
  slots_.assign(slots_.size(), Slot());
  const std::size_t mask = slots_.size() - 1;
  for (std::uint32_t i = 0; i < size(); ++i) {
    const char* const data = bytes_.data() + ends_[i];
    const std::size_t length = ends_[i + 1] - ends_[i];
    const std::uint64_t hash = HashUtf8(data, length, seed);
    std::size_t walk = 0, at = hash & mask;
    for (; slots_[at].index != kEmpty; at = (at + 1) & mask) {
      if (slots_[at].tag == Tag(hash) && IsAt(slots_[at].index, data, length)) return *is_twice = true, false;
      if (++walk > kMaxWalk) return false;
    }
    slots_[at] = {Tag(hash), i};
  }
  return true;
}

Status StringVocabulary::Build(const std::vector<std::string>& values, StringVocabulary* vocabulary) {
  if (values.size() >= kMaxSize) {
    return {StatusCode::kBadSpec,
            -1,
            "a vocabulary must have less than 2^29 values",
            true,
            static_cast<double>(values.size()),
            "hash the column"};
  }
  StringVocabulary made;
  for (const std::string& value : values) {
    if (value.empty()) {
      return {StatusCode::kBadSpec, -1, "`values` must not be empty strings, which are missing", false, 0,
              "leave it out"};
    }
    made.bytes_.insert(made.bytes_.end(), value.begin(), value.end());
    made.ends_.push_back(made.bytes_.size());
  }
  std::size_t slots = 2;
  while (slots < 2 * values.size()) slots *= 2;
  made.slots_.resize(slots);
  bool is_twice = false;
  for (std::uint64_t seed = 0; seed < kMaxSeeds && !is_twice; ++seed) {
    if (!made.TrySeed(seed, &is_twice)) continue;
    *vocabulary = std::move(made);
    return {};
  }
  if (is_twice) {
    return {StatusCode::kBadSpec,  -1, "`values` must differ from one another", false, 0,
            "list each value once"};
  }
  return {StatusCode::kBadSpec, -1, "these values resist every seed of the table's hash", false, 0,
          "hash the column"};
}

std::int64_t StringVocabulary::Find(const char* data, std::size_t size) const noexcept {
  if (size == 0) return -1;
  const std::uint64_t hash = HashUtf8(data, size, seed_);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask; slots_[at].index != kEmpty; at = (at + 1) & mask) {
    if (slots_[at].tag == Tag(hash) && IsAt(slots_[at].index, data, size)) return slots_[at].index;
  }
  return -1;
}

}  // namespace mainspring
