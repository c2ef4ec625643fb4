// XXH3 of 64 bits, from the algorithm description in xxHash's doc/xxhash_spec.md; tests/hash_vectors.json
// holds what xxHash itself says.

#include "mainspring/hash.h"

#include <cstring>

namespace mainspring {
namespace {

constexpr std::uint64_t kPrime32[] = {0x9E3779B1u, 0x85EBCA77u, 0xC2B2AE3Du};
constexpr std::uint64_t kPrime64[] = {0x9E3779B185EBCA87u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u,
                                      0x85EBCA77C2B2AE63u, 0x27D4EB2F165667C5u};
constexpr std::uint64_t kMx1 = 0x165667919E3779F9u, kMx2 = 0x9FB21C651E98DF25u;
constexpr std::size_t kStripe = 64, kStripesPerBlock = 16, kSecretBytes = 192;

constexpr unsigned char kSecret[kSecretBytes] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

__extension__ typedef unsigned __int128 Uint128;

std::uint64_t Read64(const unsigned char* p) {
  std::uint64_t x;
  std::memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  x = __builtin_bswap64(x);
#endif
  return x;
}

std::uint64_t Read32(const unsigned char* p) {
  std::uint32_t x;
  std::memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  x = __builtin_bswap32(x);
#endif
  return x;
}

std::uint64_t Secret64(std::size_t at) { return Read64(kSecret + at); }

std::uint64_t Rotate(std::uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }

// The two halves of the 128-bit product, one onto the other.
std::uint64_t Fold(std::uint64_t a, std::uint64_t b) {
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t Avalanche(std::uint64_t x) {
  x = (x ^ (x >> 37)) * kMx1;
  return x ^ (x >> 32);
}

std::uint64_t AvalancheXxh64(std::uint64_t x) {
  x = (x ^ (x >> 33)) * kPrime64[1];
  x = (x ^ (x >> 29)) * kPrime64[2];
  return x ^ (x >> 32);
}

std::uint64_t MixStep(const unsigned char* data, std::size_t secret_at, std::uint64_t seed) {
  return Fold(Read64(data) ^ (Secret64(secret_at) + seed),
              Read64(data + 8) ^ (Secret64(secret_at + 8) - seed));
}

std::uint64_t From4To8(const unsigned char* data, std::size_t size, std::uint64_t seed) {
  seed ^= static_cast<std::uint64_t>(__builtin_bswap32(static_cast<std::uint32_t>(seed))) << 32;
  const std::uint64_t combined = Read32(data + size - 4) | Read32(data) << 32;
  std::uint64_t x = ((Secret64(8) ^ Secret64(16)) - seed) ^ combined;
  x ^= Rotate(x, 49) ^ Rotate(x, 24);
  x *= kMx2;
  x ^= (x >> 35) + size;
  x *= kMx2;
  return x ^ (x >> 28);
}

std::uint64_t From9To16(const unsigned char* data, std::size_t size, std::uint64_t seed) {
  const std::uint64_t low = ((Secret64(24) ^ Secret64(32)) + seed) ^ Read64(data);
  const std::uint64_t high = ((Secret64(40) ^ Secret64(48)) - seed) ^ Read64(data + size - 8);
  return Avalanche(size + __builtin_bswap64(low) + high + Fold(low, high));
}

std::uint64_t From17To240(const unsigned char* data, std::size_t size, std::uint64_t seed) {
  std::uint64_t sum = size * kPrime64[0];
  if (size <= 128) {
    for (std::size_t i = (size - 1) / 32 + 1; i-- > 0;) {
      sum += MixStep(data + 16 * i, 32 * i, seed);
      sum += MixStep(data + size - 16 * i - 16, 32 * i + 16, seed);
    }
    return Avalanche(sum);
  }
  for (std::size_t i = 0; i < 8; ++i) sum += MixStep(data + 16 * i, 16 * i, seed);
  sum = Avalanche(sum);
  for (std::size_t i = 8; i < size / 16; ++i) sum += MixStep(data + 16 * i, 16 * (i - 8) + 3, seed);
  return Avalanche(sum + MixStep(data + size - 16, 119, seed));
}

void Accumulate(const unsigned char* stripe, const unsigned char* secret, std::uint64_t* lanes) {
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint64_t word = Read64(stripe + 8 * i);
    const std::uint64_t keyed = word ^ Read64(secret + 8 * i);
    lanes[i ^ 1] += word;
    lanes[i] += (keyed & 0xFFFFFFFFu) * (keyed >> 32);
  }
}

std::uint64_t Above240(const unsigned char* data, std::size_t size, std::uint64_t seed) {
  unsigned char secret[kSecretBytes];
  for (std::size_t i = 0; i < kSecretBytes / 8; ++i) {
    std::uint64_t word = i % 2 == 0 ? Secret64(8 * i) + seed : Secret64(8 * i) - seed;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    std::memcpy(secret + 8 * i, &word, sizeof(word));
  }
  std::uint64_t lanes[8] = {kPrime32[2], kPrime64[0], kPrime64[1], kPrime64[2],
                            kPrime64[3], kPrime32[1], kPrime64[4], kPrime32[0]};
  const unsigned char* block = data;
  std::size_t left = size;
  for (; left > kStripe * kStripesPerBlock; left -= kStripe * kStripesPerBlock) {
    for (std::size_t n = 0; n < kStripesPerBlock; ++n, block += kStripe)
      Accumulate(block, secret + 8 * n, lanes);
    for (std::size_t i = 0; i < 8; ++i) {
      lanes[i] = (lanes[i] ^ (lanes[i] >> 47) ^ Read64(secret + kSecretBytes - 64 + 8 * i)) * kPrime32[0];
    }
  }
  for (std::size_t n = 0; n < (left - 1) / kStripe; ++n)
    Accumulate(block + kStripe * n, secret + 8 * n, lanes);
  Accumulate(data + size - kStripe, secret + kSecretBytes - 71, lanes);

  std::uint64_t result = size * kPrime64[0];
  for (std::size_t i = 0; i < 8; i += 2) {
    result += Fold(lanes[i] ^ Read64(secret + 11 + 8 * i), lanes[i + 1] ^ Read64(secret + 19 + 8 * i));
  }
  return Avalanche(result);
}

}  // namespace

std::uint64_t HashUtf8(const char* text, std::size_t size, std::uint64_t seed) noexcept {
  const auto* const data = reinterpret_cast<const unsigned char*>(text);
  if (size > 240) return Above240(data, size, seed);
  if (size > 16) return From17To240(data, size, seed);
  if (size > 8) return From9To16(data, size, seed);
  if (size >= 4) return From4To8(data, size, seed);
  if (size == 0) return AvalancheXxh64(seed ^ Secret64(56) ^ Secret64(64));
  const std::uint64_t combined = data[size - 1] | static_cast<std::uint64_t>(size) << 8 |
                                 static_cast<std::uint64_t>(data[0]) << 16 |
                                 static_cast<std::uint64_t>(data[size / 2]) << 24;
  return AvalancheXxh64(((Read32(kSecret) ^ Read32(kSecret + 4)) + seed) ^ combined);
}

}  // namespace mainspring
