// What one table of online features looks like: key parts, fields, how long a row counts.

#ifndef MAINSPRING_TABLE_SCHEMA_H_
#define MAINSPRING_TABLE_SCHEMA_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mainspring/status.h"

namespace mainspring {

// The numbers are in files: never reuse one.
enum class KeyType : std::uint8_t { kInt64 = 0, kString = 1 };

enum class FieldType : std::uint8_t {
  kBool = 0,
  kInt32 = 1,
  kInt64 = 2,
  kFloat32 = 3,
  kFloat64 = 4,
  kTimestampUs = 5,
  kString = 6,
  kBytes = 7,
  kFloat32Vector = 8,
};

// Lives beside the rows or in a heap, not in a cell of fixed size.
constexpr bool IsVariable(FieldType type) { return type == FieldType::kString || type == FieldType::kBytes; }

struct TableKey {
  std::string name;
  KeyType type = KeyType::kInt64;
};

struct TableField {
  std::string name;
  FieldType type = FieldType::kFloat32;
  std::uint32_t width = 1;  // floats of a kFloat32Vector, otherwise 1
};

inline constexpr std::int64_t kNoMaxAge = -1;

struct TableSchema {
  std::vector<TableKey> keys;
  std::vector<TableField> fields;
  // A row whose event lies more than this before the moment asked about is too old; equal is alive.
  std::int64_t max_age_us = kNoMaxAge;
};

inline constexpr std::size_t kMaxKeyParts = 16;
inline constexpr std::size_t kMaxFields = 4096;
inline constexpr std::size_t kMaxRowBytes = std::size_t{1} << 20;
// Of a key and the strings of its row together.
inline constexpr std::size_t kMaxTailBytes = std::size_t{1} << 24;

// kBadSpec: no key or field, too many, a row above kMaxRowBytes, a width of 0, a negative age.
Status CheckTableSchema(const TableSchema& schema);

bool operator==(const TableSchema& a, const TableSchema& b);

}  // namespace mainspring

#endif  // MAINSPRING_TABLE_SCHEMA_H_
