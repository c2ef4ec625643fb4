// Where in a row everything lies.

#ifndef MAINSPRING_SRC_TABLE_ROW_LAYOUT_H_
#define MAINSPRING_SRC_TABLE_ROW_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mainspring/status.h"
#include "mainspring/table_schema.h"

namespace mainspring {

// A row is a multiple of 32 bytes and begins on one, so it touches as few cache lines as its bytes can:
//
//   0  version      the batch that wrote it; 0 while it is nobody's
//   8  event time   16  created time   (microseconds)
//  24  previous     the row it replaced, or 0        28  flags
//  32  [tables with strings] heap place, tail size, key size, 0: four times 32 bits
//   .  one bit a field: set where the value is there
//   .  tail         the key's bytes, then those of each string, if they fit; otherwise all are in the heap
//   .  fields       eight bytes each, then four, then one; a string is its place in the tail and its size
//
// A missing value's cell holds NaN, 0, false or "" (see MissingRow), so that a read need not look at bits.
struct RowLayout {
  static constexpr std::size_t kEventAt = 8, kCreatedAt = 16, kPreviousAt = 24, kFlagsAt = 28;
  static constexpr std::size_t kHeapAt = 32, kTailSizeAt = 36, kKeySizeAt = 40;

  std::uint32_t row_bytes = 0;
  std::uint32_t bits_at = 0;
  std::uint32_t bit_words = 0;
  std::uint32_t tail_at = 0;
  std::uint32_t tail_bytes = 0;  // a longer tail goes to the heap
  bool has_heap = false;         // whether any key part or field has no fixed size
  std::vector<std::uint32_t> field_at;

  std::size_t row_words() const { return row_bytes / 8; }
};

// Of a schema that passed CheckTableSchema.
RowLayout LayOut(const TableSchema& schema);

// row_bytes: every field missing, no key, version 0.
std::vector<char> MissingRow(const TableSchema& schema, const RowLayout& layout);

// The size of a field's cell.
std::size_t CellBytes(const TableField& field);

// For headers of files; equal bytes mean equal schemas.
std::string EncodeSchema(const TableSchema& schema);
bool DecodeSchema(const char* data, std::size_t size, TableSchema* schema);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_ROW_LAYOUT_H_
