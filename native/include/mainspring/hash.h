// The hashes behind feature ids. Frozen: see native/reference.py and docs/adr/0002.
// For units without a kernel only: what is inline here may not reach a unit of a newer instruction set.

#ifndef MAINSPRING_HASH_H_
#define MAINSPRING_HASH_H_

#include <cstddef>
#include <cstdint>

namespace mainspring {

inline constexpr std::uint64_t kMixFirst = 0xBF58476D1CE4E5B9u;
inline constexpr std::uint64_t kMixSecond = 0x94D049BB133111EBu;

// All but the last step of Mix64: also a bijection, and with the same upper half.
constexpr std::uint64_t PreMix64(std::uint64_t x) {
  x = (x ^ (x >> 32)) * kMixFirst;
  return (x ^ (x >> 29)) * kMixSecond;
}

// The inverse of an odd number modulo 2^64: each step doubles the digits that are right.
constexpr std::uint64_t InverseOdd(std::uint64_t x) {
  std::uint64_t y = x;
  for (int i = 0; i < 5; ++i) y *= 2 - x * y;
  return y;
}

// The x of PreMix64(x).
constexpr std::uint64_t UnPreMix64(std::uint64_t x) {
  x *= InverseOdd(kMixSecond);
  x = (x ^ (x >> 29) ^ (x >> 58)) * InverseOdd(kMixFirst);
  return x ^ (x >> 32);
}
static_assert(UnPreMix64(PreMix64(0x123456789ABCDEF0u)) == 0x123456789ABCDEF0u);

constexpr std::uint64_t Mix64(std::uint64_t x) {
  x = PreMix64(x);
  return x ^ (x >> 32);
}

// A bijection of 32 bits, for tables only: no id depends on it. Constants: "lowbias32" of Chris Wellons' Hash
// Prospector (public domain), without its last step.
constexpr std::uint32_t PreMix32(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  return (x ^ (x >> 15)) * 0x846CA68Bu;
}

// What a seed becomes, so that seed 0 is not the identity.
constexpr std::uint64_t HashKey(std::uint64_t seed) { return Mix64(seed + 0x9E3779B97F4A7C15u); }

// XXH3 of 64 bits with a seed. `data` may be null where size is 0.
std::uint64_t HashUtf8(const char* data, std::size_t size, std::uint64_t seed) noexcept;

}  // namespace mainspring

#endif  // MAINSPRING_HASH_H_
