// Rows one by one, as of one moment, for snapshots and scans.

#ifndef MAINSPRING_SRC_TABLE_ROW_READER_H_
#define MAINSPRING_SRC_TABLE_ROW_READER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "table_memory.h"
#include "table_writer.h"

namespace mainspring {

// Copies rows out of memory that a writer goes on with.
class RowReader {
 public:
  explicit RowReader(const TableMemory& memory) : memory_(memory), row_(memory.layout.row_words()) {}

  // The version of `row` that `committed` sees; false where there is none, or it says that its key is gone.
  bool Take(std::uint32_t row, std::uint64_t committed, StagedRow* staged, std::size_t* outside) {
    char* const copy = reinterpret_cast<char*>(row_.data());
    const RowLayout& layout = memory_.layout;
    for (; row != 0; row = FieldOf<std::uint32_t>(copy, RowLayout::kPreviousAt)) {
      LoadWords(copy, memory_.RowAt(row), layout.row_words());
      if (FieldOf<std::uint64_t>(copy, 0) <= committed) break;
    }
    if (row == 0 || (FieldOf<std::uint32_t>(copy, RowLayout::kFlagsAt) & kDeletedFlag) != 0) return false;
    *staged = {copy + 8, nullptr};
    *outside = 0;
    if (layout.has_heap) {
      const std::uint32_t size = FieldOf<std::uint32_t>(copy, RowLayout::kTailSizeAt);
      if (size > layout.tail_bytes) {
        *outside = (size + 7) / 8 * 8;
        if (tail_.size() < *outside / 8) tail_.resize(*outside / 8);
        char* const tail = reinterpret_cast<char*>(tail_.data());
        LoadWords(tail, memory_.HeapAt(FieldOf<std::uint32_t>(copy, RowLayout::kHeapAt)), *outside / 8);
        staged->tail = tail;
      }
      std::memset(copy + RowLayout::kHeapAt, 0, 4);
    }
    std::memset(copy + RowLayout::kPreviousAt, 0, 4);
    return true;
  }

 private:
  const TableMemory& memory_;
  std::vector<std::uint64_t> row_, tail_;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_ROW_READER_H_
