// How the processes of one host find one another: who writes, and where the rows lie.

#ifndef MAINSPRING_SRC_TABLE_SHARING_H_
#define MAINSPRING_SRC_TABLE_SHARING_H_

#include <memory>
#include <string>

#include "files.h"
#include "table_memory.h"

namespace mainspring {

// The right to write a directory's table, until it is destroyed or its process ends, however that happens.
class WriterLock {
 public:
  // kBusy where another has it.
  TableStatus Take(const std::string& directory);

 private:
  File file_;
};

// A path for rows that is nobody else's. `memory_directory` empty: the table's own.
std::string NewRowsPath(const std::string& directory, const std::string& memory_directory);

// Makes `rows_path` what readers open, ends whatever they had before, and removes what dead writers left.
// Empty: nothing is shared any more.
TableStatus Publish(const std::string& directory, const std::string& memory_directory,
                    const std::string& rows_path);

// What is shared now; kIo where nothing is.
TableStatus FindRows(const std::string& directory, std::string* rows_path);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_SHARING_H_
