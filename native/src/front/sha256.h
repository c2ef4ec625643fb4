// SHA-256 (FIPS 180-4) of short texts.

#ifndef MAINSPRING_SRC_FRONT_SHA256_H_
#define MAINSPRING_SRC_FRONT_SHA256_H_

#include <array>
#include <cstdint>
#include <string_view>

namespace mainspring::front {

using Sha256Digest = std::array<std::uint8_t, 32>;

Sha256Digest Sha256(std::string_view text);

// Takes as long wherever they differ.
bool EqualsInConstantTime(const Sha256Digest& a, const Sha256Digest& b);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_SHA256_H_
