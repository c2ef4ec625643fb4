#include "mainspring/vocabulary.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "mainspring/hash.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();
constexpr std::uint64_t kMaxSpan = std::numeric_limits<std::uint32_t>::max() - std::uint64_t{2};
constexpr int kMaxBits = 30;
// A key fails where two words share a bucket and their top bits: for four sets in five, at any size. A
// thousand never fail but by design.
constexpr std::uint64_t kMaxKeys = 1000;
constexpr std::size_t kMaxPilots = 65536;

std::uint32_t Scatter(std::uint32_t word, std::uint64_t key) {
  return PreMix32(word ^ static_cast<std::uint32_t>(key));
}
std::uint64_t Scatter(std::uint64_t word, std::uint64_t key) { return PreMix64(word ^ key); }

}  // namespace

// words[0] is that of the missing value, with id 0; words[i] gets id i + 1.
template <typename Word>
bool Vocabulary::TryKey(const std::vector<Word>& words, std::uint64_t key, std::vector<Word>* slots) {
  constexpr int kWordBits = std::numeric_limits<Word>::digits;
  const std::size_t mask = pilots_.size() - 1, size = words.size();
  std::vector<Word> scattered(size);
  for (std::size_t i = 0; i < size; ++i) scattered[i] = Scatter(words[i], key);

  // Members of bucket b: order[first[b]] .. order[first[b + 1] - 1].
  std::vector<std::size_t> first(mask + 2, 0), order(size);
  for (const Word h : scattered) ++first[(h & mask) + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::size_t> next(first.begin(), first.end() - 1);
  for (std::size_t i = 0; i < size; ++i) order[next[scattered[i] & mask]++] = i;

  // The largest first, while there is room.
  std::vector<std::size_t> buckets(mask + 1);
  std::iota(buckets.begin(), buckets.end(), std::size_t{0});
  std::stable_sort(buckets.begin(), buckets.end(), [&first](std::size_t a, std::size_t b) {
    return first[a + 1] - first[a] > first[b + 1] - first[b];
  });

  // An empty slot says "unknown" to whoever gets there, whatever it is compared with.
  slots->assign(std::size_t{1} << bits_, 1);
  std::fill(pilots_.begin(), pilots_.end(), std::uint16_t{0});
  std::vector<char> is_taken(slots->size(), 0);
  const std::size_t pilots = std::min(slots->size(), kMaxPilots);
  const auto place = [&](std::size_t i, std::size_t pilot) {
    return static_cast<std::size_t>(scattered[order[i]] >> (kWordBits - bits_)) ^ pilot;
  };
  for (const std::size_t bucket : buckets) {
    const std::size_t begin = first[bucket], end = first[bucket + 1];
    if (begin == end) break;
    std::size_t pilot = 0;
    for (; pilot < pilots; ++pilot) {
      std::size_t i = begin;
      for (; i < end && is_taken[place(i, pilot)] == 0; ++i) is_taken[place(i, pilot)] = 1;
      if (i == end) break;
      while (i-- > begin) is_taken[place(i, pilot)] = 0;  // not this one: give back what it took
    }
    if (pilot == pilots) return false;
    pilots_[bucket] = static_cast<std::uint16_t>(pilot);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t id = order[i] == 0 ? 0 : order[i] + 1;
      (*slots)[place(i, pilot)] = static_cast<Word>((scattered[order[i]] << bits_) | id);
    }
  }
  key_ = key;
  return true;
}

template <typename Word>
Status Vocabulary::Fill(const std::vector<Word>& words, std::vector<Word>* slots) {
  for (std::uint64_t seed = 0; seed < kMaxKeys; ++seed) {
    if (TryKey(words, HashKey(seed), slots)) return {};
  }
  return {StatusCode::kBadSpec, -1, "these values resist every seed of the table's hash", false, 0,
          "hash the column"};
}

Status Vocabulary::Build(const std::int64_t* values, std::size_t size, Vocabulary* vocabulary) {
  std::vector<std::int64_t> sorted(values, values + size);
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end() || (size > 0 && sorted.front() == kMissing)) {
    return {StatusCode::kBadSpec,
            -1,
            "`values` must differ from one another and from -2^63, the missing value",
            true,
            static_cast<double>(twice != sorted.end() ? *twice : kMissing),
            "list each value once"};
  }

  Vocabulary made;
  // At most four fifths full, and room for the ids 0 .. size + 1.
  const std::size_t n_words = size + 1;
  while ((std::size_t{1} << made.bits_) < n_words + n_words / 4 + 1) ++made.bits_;
  if (made.bits_ > kMaxBits) {
    return {StatusCode::kBadSpec,
            -1,
            "a vocabulary must have less than 2^29 values",
            true,
            static_cast<double>(size),
            "hash the column"};
  }
  std::size_t buckets = 1;
  while (buckets * 4 < n_words) buckets *= 2;
  made.pilots_.resize(buckets);
  if (size > 0) {
    made.base_ = sorted.front();
    made.span_ = static_cast<std::uint64_t>(sorted.back()) - static_cast<std::uint64_t>(sorted.front());
  }
  made.is_narrow_ = made.span_ <= kMaxSpan;
  Status status;
  if (made.is_narrow_) {
    std::vector<std::uint32_t> words = {static_cast<std::uint32_t>(made.span_ + 2)};
    for (std::size_t i = 0; i < size; ++i) {
      words.push_back(static_cast<std::uint32_t>(static_cast<std::uint64_t>(values[i]) -
                                                 static_cast<std::uint64_t>(made.base_)));
    }
    status = made.Fill(words, &made.narrow_);
  } else {
    std::vector<std::uint64_t> words = {static_cast<std::uint64_t>(kMissing)};
    words.insert(words.end(), values, values + size);
    status = made.Fill(words, &made.wide_);
  }
  if (status.ok()) *vocabulary = std::move(made);
  return status;
}

}  // namespace mainspring
