// How a scan walks: slot by slot over the index of the moment at which it began.

#ifndef MAINSPRING_SRC_TABLE_TABLE_SCAN_H_
#define MAINSPRING_SRC_TABLE_TABLE_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "mainspring/table.h"
#include "row_reader.h"
#include "table_memory.h"

namespace mainspring {

struct TableScan::Impl {
  const TableMemory* memory;
  std::uint64_t committed;
  IndexView index;
  RowReader reader;
  std::function<void()> unpin;
  std::size_t next_slot = 0;

  Impl(const TableMemory* from, std::uint64_t moment, std::uint64_t index_word, std::function<void()> at_end)
      : memory(from),
        committed(moment),
        index(from->arena.base(), index_word),
        reader(*from),
        unpin(std::move(at_end)) {}
  ~Impl() { unpin(); }

  void Clear(ScannedRows* rows) const;
  void Add(const StagedRow& staged, ScannedRows* rows) const;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_TABLE_SCAN_H_
