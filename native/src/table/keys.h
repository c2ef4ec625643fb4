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
    const Text text = only.TextAt(i);
    return {text.data, text.size};
  }
  char* to = encoded;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const KeyColumn& column = columns[part];
    if (parts[part].type == KeyType::kInt64) {
      std::memcpy(to, column.ints + i, 8);
      to += 8;
      continue;
    }
    const Text text = column.TextAt(i);
    std::memcpy(to, &text.size, 4);
    if (text.size > 0) std::memcpy(to + 4, text.data, text.size);
    to += 4 + text.size;
  }
  return {encoded, static_cast<std::uint32_t>(to - encoded)};
}

// What EncodeKey writes for row `i`, or would.
inline std::size_t EncodedBytes(const std::vector<TableKey>& parts, const KeyColumn* columns, std::size_t i) {
  std::size_t bytes = 0;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const bool is_int = parts[part].type == KeyType::kInt64;
    bytes += is_int ? 8 : columns[part].TextAt(i).size + (parts.size() > 1 ? 4 : 0);
  }
  return bytes;
}

inline bool SameKey(const KeyView& key, const char* data, std::size_t size) {
  return key.size == size && (size == 0 || std::memcmp(key.data, data, size) == 0);
}

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_KEYS_H_
