// From the files of a directory to a table's memory.

#ifndef MAINSPRING_SRC_TABLE_RECOVERY_H_
#define MAINSPRING_SRC_TABLE_RECOVERY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "files.h"
#include "table_memory.h"
#include "table_writer.h"

namespace mainspring {

// What a directory has, by numbers that rise.
struct TableFiles {
  std::vector<std::uint64_t> logs, snapshots;
};

TableStatus FindTableFiles(const std::string& directory, TableFiles* files);
// Also half-made files.
TableStatus RemoveTableFilesBefore(const std::string& directory, std::uint64_t log_number);

struct Recovered {
  std::unique_ptr<TableMemory> memory;
  std::unique_ptr<TableWriter> writer;
  std::uint64_t next_log = 1;
  std::uint64_t next_sequence = 1;
  std::uint64_t log_bytes = 0;  // of records that were replayed
};

// Where the rows shall live; `rows` are known to come.
using MakeMemory = std::function<TableStatus(const TableSchema&, std::uint64_t rows, Recovered*)>;

// The newest snapshot that is whole, and the logs from it on. What a crash left half-written at the end of
// the last log is cut off: nobody was told that it is there. Damage anywhere else is kCorrupt, with file and
// byte. `schema`: what it must be; nullptr: whatever is there.
TableStatus Recover(const std::string& directory, const TableFiles& files, const TableSchema* schema,
                    const MakeMemory& make, Recovered* recovered);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_RECOVERY_H_
