// Columns to rows: a few rows of an upsert at a time, in the form that the writer and the log take.

#ifndef MAINSPRING_SRC_TABLE_ROW_STAGER_H_
#define MAINSPRING_SRC_TABLE_ROW_STAGER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "table_memory.h"
#include "table_writer.h"

namespace mainspring {

class RowStager {
 public:
  static constexpr std::size_t kRows = 32;

  explicit RowStager(const TableMemory* memory);

  // kBadShape where a key is null, or a row's key and strings are longer than kMaxTailBytes; `bytes` is what
  // all rows take in a file. `got` is the row.
  Status Check(const UpsertBatch& batch, std::size_t* bytes) const;
  Status CheckKeys(const KeyBatch& keys, std::size_t* bytes) const;

  // Rows first .. first + n - 1, valid until the next call. n is at most kRows.
  const StagedRow* Stage(const UpsertBatch& batch, std::size_t first, std::size_t n);
  // The same for keys to delete.
  const StagedRow* StageDeletions(const KeyBatch& keys, std::size_t first, std::size_t n);

 private:
  void StageTails(const KeyBatch& keys, const InputColumn* columns, std::size_t first, std::size_t n);

  const TableMemory* const memory_;
  std::vector<std::uint64_t> rows_;  // with room for the version, so that places are those of the layout
  std::vector<std::string> tails_;
  std::vector<char> key_;
  StagedRow staged_[kRows];
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_ROW_STAGER_H_
