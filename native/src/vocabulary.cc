#include "mainspring/vocabulary.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "mainspring/hash.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();
constexpr int kMaxBits = 30;
// Each key fails for e^-1.2 to e^-2 of all sets, at any size; a hundred tries never fail but by design.
constexpr std::uint64_t kMaxKeys = 1000;
constexpr std::size_t kMaxPilots = 65536;

}  // namespace

// All `values`, the missing one first: values[i] gets id i + 1, the missing one 0.
bool Vocabulary::TryKey(const std::int64_t* values, std::size_t size, std::uint64_t key) {
  const std::uint64_t mask = bucket_mask();
  std::vector<std::uint64_t> scattered(size);
  for (std::size_t i = 0; i < size; ++i) scattered[i] = PreMix64(static_cast<std::uint64_t>(values[i]) ^ key);

  // Members of bucket b: order[first[b]] .. order[first[b + 1] - 1].
  std::vector<std::size_t> first(mask + 2, 0), order(size);
  for (const std::uint64_t h : scattered) ++first[(h & mask) + 1];
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
  slots_.assign(std::size_t{1} << bits_, 1);
  std::fill(pilots_.begin(), pilots_.end(), std::uint16_t{0});
  std::vector<char> is_taken(slots_.size(), 0);
  const std::size_t pilots = std::min(slots_.size(), kMaxPilots);
  for (const std::size_t bucket : buckets) {
    const std::size_t begin = first[bucket], end = first[bucket + 1];
    if (begin == end) break;
    std::size_t pilot = 0;
    for (; pilot < pilots; ++pilot) {
      std::size_t i = begin;
      for (; i < end; ++i) {
        char& taken = is_taken[(scattered[order[i]] >> (64 - bits_)) ^ pilot];
        if (taken != 0) break;
        taken = 1;
      }
      if (i == end) break;
      // Not this one: give back what it took.
      while (i-- > begin) is_taken[(scattered[order[i]] >> (64 - bits_)) ^ pilot] = 0;
    }
    if (pilot == pilots) return false;
    pilots_[bucket] = static_cast<std::uint16_t>(pilot);
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint64_t h = scattered[order[i]];
      const std::uint64_t id = order[i] == 0 ? 0 : order[i] + 1;
      slots_[(h >> (64 - bits_)) ^ pilot] = (h << bits_) | id;
    }
  }
  key_ = key;
  return true;
}

Status Vocabulary::Build(const std::int64_t* values, std::size_t size, Vocabulary* vocabulary) {
  std::vector<std::int64_t> all = {kMissing};
  all.insert(all.end(), values, values + size);
  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&all](std::size_t a, std::size_t b) { return all[a] < all[b]; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (all[order[i]] != all[order[i - 1]]) continue;
    return {StatusCode::kBadSpec,
            static_cast<std::int32_t>(order[i] - 1),
            "`values` must differ from one another and from -2^63, the missing value",
            true,
            static_cast<double>(all[order[i]]),
            "list each value once"};
  }

  Vocabulary made;
  // At most four fifths full, and room for the ids 0 .. size + 1.
  while ((std::size_t{1} << made.bits_) < all.size() + all.size() / 4 + 1) ++made.bits_;
  if (made.bits_ > kMaxBits) {
    return {StatusCode::kBadSpec,
            -1,
            "a vocabulary must have less than 2^29 values",
            true,
            static_cast<double>(size),
            "hash the column"};
  }
  std::size_t buckets = 1;
  while (buckets * 4 < all.size()) buckets *= 2;
  made.pilots_.resize(buckets);
  for (std::uint64_t seed = 0; seed < kMaxKeys; ++seed) {
    if (!made.TryKey(all.data(), all.size(), HashKey(seed))) continue;
    *vocabulary = std::move(made);
    return {};
  }
  return {StatusCode::kBadSpec, -1, "these values resist every seed of the table's hash", false, 0,
          "hash the column"};
}

}  // namespace mainspring
