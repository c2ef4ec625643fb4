// The one who changes a table's memory. Whoever calls holds the table's lock.

#ifndef MAINSPRING_SRC_TABLE_TABLE_WRITER_H_
#define MAINSPRING_SRC_TABLE_TABLE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "heap.h"
#include "keys.h"
#include "mainspring/table.h"
#include "table_memory.h"

namespace mainspring {

// A row before it has a place, and as files hold it: what follows the version, then the tail where that does
// not fit into the row.
struct StagedRow {
  const char* body = nullptr;
  const char* tail = nullptr;  // nullptr: in the row
};

class TableWriter {
 public:
  TableWriter(TableMemory* memory, std::int64_t quarantine_us);

  // The first array of slots, for at least this many rows.
  Status Prepare(std::uint64_t rows);

  // A batch: Begin, Put as often as needed, then Commit or Undo. Several may be begun before the first is
  // committed (they wait for the disk); they are committed in order, and only the last can be undone.
  std::uint64_t Begin(std::int64_t now_us);

  // Rows that are not older than what is there (or, with the deleted flag, keys that are there) become the
  // newest of their key; `is_kept` says which. Nobody sees them yet.
  Status Put(const StagedRow* rows, std::size_t n, std::uint8_t* is_kept);

  // Of the last batch so far: keys that it changed, rows that were too old, rows that were kept.
  std::size_t n_changed() const { return batches_.back().n_changed; }
  std::size_t n_older() const { return batches_.back().n_older; }
  bool is_empty() const { return batches_.back().changes.empty(); }

  void Undo();
  void UndoAfter(std::uint64_t version);
  void Commit(std::uint64_t through, std::int64_t now_us);

  // While anybody pins the table, nothing that was replaced is used again.
  void Pin() { ++pins_; }
  void Unpin() { --pins_; }

  TableStats Stats() const;
  std::uint64_t begun() const { return next_version_ - 1; }
  std::uint32_t rows_used() const { return next_row_ - 1; }

  // The key of a staged row.
  KeyView KeyOf(const StagedRow& row) const;
  // What files hold of the row besides its body, in whole words.
  std::size_t OutsideBytes(const char* body) const;

 private:
  struct Change {
    std::uint32_t tag, row, replaced;
  };
  struct Batch {
    std::uint64_t version = 0;
    std::size_t n_changed = 0;
    std::size_t n_older = 0;
    std::int64_t more_keys = 0;
    std::vector<Change> changes;
  };
  struct Retired {
    std::uint32_t row;
    std::int64_t since_us;
  };
  struct Grave {
    std::uint32_t row;
    std::uint64_t version;
    std::int64_t since_us;
  };
  struct OldIndex {
    std::uint64_t word;
    std::int64_t since_us;
  };

  Status PutOne(const StagedRow& staged, std::uint32_t tag, std::uint8_t* is_kept);
  std::size_t Find(std::uint32_t tag, const KeyView& key, std::uint32_t* row) const;
  std::size_t FindRow(std::uint32_t tag, std::uint32_t row) const;
  bool HasKey(std::uint32_t row, const KeyView& key) const;
  Status TakeRow(std::uint32_t* row);
  Status GrowIndex();
  Status TakeIndex(int bits, std::uint64_t* word);
  void Free(std::uint32_t row);
  void Recycle();

  TableMemory* const memory_;
  const std::int64_t quarantine_us_;
  Heap heap_;
  IndexView index_;
  std::size_t used_slots_ = 0;  // with those of keys that are gone
  std::size_t live_slots_ = 0;
  std::uint64_t index_next_ = 0;  // bytes of the index's range that were ever taken
  std::uint32_t next_row_ = 1;
  std::uint64_t rows_ready_bytes_ = 0;
  std::uint64_t next_version_ = 1;
  std::int64_t now_us_ = 0;
  int pins_ = 0;
  std::vector<std::uint32_t> free_rows_;
  std::vector<std::uint64_t> free_indexes_;
  std::deque<Retired> retired_;
  std::deque<Grave> graves_;
  std::deque<OldIndex> old_indexes_;
  std::deque<Batch> batches_;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_TABLE_WRITER_H_
