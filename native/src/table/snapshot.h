// All rows of a table in one file, in the order of its index.

#ifndef MAINSPRING_SRC_TABLE_SNAPSHOT_H_
#define MAINSPRING_SRC_TABLE_SNAPSHOT_H_

#include <cstdint>
#include <string>

#include "files.h"
#include "log_format.h"
#include "table_memory.h"

namespace mainspring {

// One moment of a table. Its writer is pinned while anybody looks at it.
struct Moment {
  std::uint64_t committed = 0;
  std::uint64_t index = 0;
  std::uint64_t rows = 0;
  std::uint64_t log_number = 0;
  std::uint64_t first_sequence = 0;
};

// Writes it, whole or not at all. Any thread, no lock.
TableStatus WriteSnapshot(const std::string& directory, const TableMemory& memory, const Moment& moment);

// Of a table that has no row yet.
TableStatus WriteEmptySnapshot(const std::string& directory, const TableSchema& schema, const Moment& moment);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_SNAPSHOT_H_
