// CRC-32C (Castagnoli), as iSCSI defines it. For files only: no id depends on it.

#ifndef MAINSPRING_SRC_TABLE_CRC32C_H_
#define MAINSPRING_SRC_TABLE_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace mainspring {

// Of `data` after bytes that have the sum `before`; 0 at the start.
std::uint32_t Crc32c(const char* data, std::size_t size, std::uint32_t before) noexcept;

// The same without the instruction that most CPUs have for it.
std::uint32_t PlainCrc32c(const char* data, std::size_t size, std::uint32_t before) noexcept;

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_CRC32C_H_
