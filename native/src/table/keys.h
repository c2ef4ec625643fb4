// The one form of a key: its bytes are hashed, compared, stored and logged.

#ifndef MAINSPRING_SRC_TABLE_KEYS_H_
#define MAINSPRING_SRC_TABLE_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "mainspring/table.h"

namespace mainspring {

struct KeyView {
  const char* data = nullptr;
  std::uint32_t size = 0;
};

// An integer is its eight bytes, lowest first. A string is its UTF-8 bytes; where the key has several parts
// they come after their number in four bytes, so that ("a", "bc") and ("ab", "c") differ. The parts follow
// one another.
//
// The key of row `i`: it points into the caller's column where that already has the form, else into
// `encoded`, which must have room (see EncodedBytes).
inline KeyView EncodeKey(const std::vector<TableKey>& parts, const KeyColumn* columns, std::size_t i,
                         char* encoded) {
  if (parts.size() == 1) {
    const KeyColumn& only = columns[0];
    if (parts[0].type == KeyType::kInt64) return {reinterpret_cast<const char*>(only.ints + i), 8};
    return {only.bytes + only.offsets[i], static_cast<std::uint32_t>(only.offsets[i + 1] - only.offsets[i])};
  }
  char* to = encoded;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const KeyColumn& column = columns[part];
    if (parts[part].type == KeyType::kInt64) {
      std::memcpy(to, column.ints + i, 8);
      to += 8;
      continue;
    }
    const std::uint32_t size = static_cast<std::uint32_t>(column.offsets[i + 1] - column.offsets[i]);
    std::memcpy(to, &size, 4);
    if (size > 0) std::memcpy(to + 4, column.bytes + column.offsets[i], size);
    to += 4 + size;
  }
  return {encoded, static_cast<std::uint32_t>(to - encoded)};
}

// What EncodeKey writes for row `i`, or would.
inline std::size_t EncodedBytes(const std::vector<TableKey>& parts, const KeyColumn* columns, std::size_t i) {
  std::size_t bytes = 0;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const KeyColumn& column = columns[part];
    bytes += parts[part].type == KeyType::kInt64
                 ? 8
                 : static_cast<std::size_t>(column.offsets[i + 1] - column.offsets[i]) +
                       (parts.size() > 1 ? 4 : 0);
  }
  return bytes;
}

inline bool SameKey(const KeyView& key, const char* data, std::size_t size) {
  return key.size == size && (size == 0 || std::memcmp(key.data, data, size) == 0);
}

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_KEYS_H_
