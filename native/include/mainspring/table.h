// A table of online features: the newest row of every key, in memory; read in batches, columns out.

#ifndef MAINSPRING_TABLE_H_
#define MAINSPRING_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mainspring/status.h"
#include "mainspring/table_schema.h"

namespace mainspring {

// A string that lies somewhere.
struct Text {
  const char* data;
  std::uint32_t size;
};

// One part of n keys: integers, or strings that lie side by side, string i at [offsets[i], offsets[i + 1]),
// or each in its own place.
struct KeyColumn {
  const std::int64_t* ints = nullptr;
  const std::int64_t* offsets = nullptr;
  const char* bytes = nullptr;
  const Text* texts = nullptr;  // in the place of `offsets` and `bytes`

  Text TextAt(std::size_t i) const {
    if (texts != nullptr) return texts[i];
    return {bytes + offsets[i], static_cast<std::uint32_t>(offsets[i + 1] - offsets[i])};
  }
};

// n keys of a table. `columns` has one entry a key part of the schema.
struct KeyBatch {
  const KeyColumn* columns = nullptr;
  const std::uint8_t* is_null = nullptr;  // keys that no row can have; nullptr: none
  std::size_t n = 0;
};

// Values of one field for n rows: bool as one byte, strings side by side with `offsets`, vectors row by row.
struct InputColumn {
  const void* values = nullptr;
  const std::int64_t* offsets = nullptr;
  const std::uint8_t* valid = nullptr;  // nullptr: all; a NaN of a float field is never valid
};

struct UpsertBatch {
  KeyBatch keys;
  const std::int64_t* event_us = nullptr;
  const std::int64_t* created_us = nullptr;
  const std::int32_t* ttl_seconds = nullptr;  // nullptr: none; 0: only the reader's age counts
  const InputColumn* columns = nullptr;       // one a field of the schema
};

struct UpsertResult {
  std::size_t n_changed = 0;  // keys that have another newest row now, or that are gone
  std::size_t n_older = 0;    // rows that were ignored, since their key has a newer one
  std::uint64_t ticket = 0;   // of Wait
};

// What a read gives back of a string field: string i of the answer at [offsets[i], offsets[i + 1]).
struct StringColumn {
  std::vector<std::int64_t> offsets;
  std::vector<char> bytes;
};

// What a field is turned into on its way out. Missing is NaN or -2^63 then, as a Program wants it.
enum class ReadAs : std::uint8_t { kItself = 0, kFloat32, kInt64, kFloat64 };

struct OutputColumn {
  void* values = nullptr;  // of a field that is no string; nullptr: not wanted
  StringColumn* strings = nullptr;
  std::uint8_t* valid = nullptr;  // one byte a row, or nullptr
  ReadAs as = ReadAs::kItself;
};

// The bytes of `status`.
enum class RowStatus : std::uint8_t {
  kPresent = 0,
  kNotFound = 1,  // also where the key is null, or its newest row lies after the moment asked about
  kOutsideMaxAge = 2,
};

struct ReadBatch {
  KeyBatch keys;
  std::int64_t now_us = 0;
  std::int64_t max_age_us = kNoMaxAge;
  std::uint64_t max_outside_bytes = ~std::uint64_t{0};  // for who may not wait; see ReadWorkspace
  const OutputColumn* columns = nullptr;                // one a field of the selection, or nullptr
  float* matrix = nullptr;                              // n x selection.width(), or nullptr
  std::uint8_t* status = nullptr;                       // n of RowStatus
  std::int64_t* event_us = nullptr;                     // n; 0 where the row is not found
};

// Fields to read, in the order of the answer, and which words of a row that takes. Of one schema.
class FieldSelection {
 public:
  const std::vector<std::uint32_t>& fields() const { return fields_; }
  // Floats of a matrix row; 0 unless every field is float32 or a vector.
  std::size_t width() const { return width_; }

 private:
  friend class TableReader;
  struct Run {
    std::uint32_t first, words;
  };
  struct Piece {
    std::uint32_t from, to, bytes;
  };
  std::vector<std::uint32_t> fields_;
  std::vector<Run> runs_;      // what to copy of a row
  std::vector<Piece> pieces_;  // of a row into a row of the matrix
  // A byte of every line of it, for rows that begin on a line and for those that begin in the middle of one.
  std::vector<std::uint32_t> prefetch_at_[2];
  std::size_t width_ = 0;
  bool is_direct_ = false;  // whole words into the matrix
  bool has_strings_ = false;
};

// Room for one thread's reads. Grows with the first; afterwards nothing is allocated but for strings.
class ReadWorkspace {
 public:
  // How often a part of a read was begun again, because what it needed had been taken away meanwhile.
  std::uint64_t restarts() const { return restarts_; }
  // Bytes of keys and strings that the last read copied from outside of their rows. Above its
  // max_outside_bytes: it was given up, and its answer is of no use.
  std::uint64_t outside_bytes() const { return outside_bytes_; }

 private:
  friend class TableReader;
  std::uint64_t restarts_ = 0, outside_bytes_ = 0;
  std::vector<std::uint64_t> rows_;
  std::vector<char> keys_;
  std::vector<std::vector<char>> tails_;
};

struct TableOptions {
  std::uint64_t max_rows = std::uint64_t{1} << 27;  // address space only; memory comes as rows do
  std::uint64_t rows = 0;                           // how many to have an index ready for
  std::uint64_t seed = 0;                           // of the hash; whoever chooses keys should not know it
  std::int64_t quarantine_us = 100'000;             // how long a replaced row stays as it is
  // Of tables in a directory:
  bool is_shared = false;          // readers of other processes may come
  std::string memory_directory;    // where shared rows lie; empty: the table's own directory
  std::int64_t group_us = 10'000;  // rows that nobody waits for reach the disk within
  std::uint64_t snapshot_log_bytes = std::uint64_t{256} << 20;  // of log, and then a snapshot is made
};

struct TableStats {
  std::uint64_t rows = 0;        // keys that reads find
  std::uint64_t row_bytes = 0;   // of one row without strings that did not fit
  std::uint64_t rows_bytes = 0;  // of all rows that were ever in use at once
  std::uint64_t index_bytes = 0;
  std::uint64_t heap_bytes = 0;     // strings that did not fit into their row
  std::uint64_t replaced_rows = 0;  // waiting to be used again
  std::uint64_t older_rows = 0;     // that upserts ignored since the table was opened
  std::uint64_t log_bytes = 0;      // since the last snapshot
  std::uint64_t snapshots = 0;      // since the table was opened
};

// A status, and what literals cannot say: the system's words, a file and an offset.
struct TableStatus {
  Status status;
  std::string detail;

  TableStatus() = default;
  TableStatus(const Status& from) : status(from) {}  // NOLINT: every Status is one
  TableStatus(const Status& from, std::string words) : status(from), detail(std::move(words)) {}
  bool ok() const { return status.ok(); }
};

// What a scan gives: n rows, whatever their age, column by column.
struct ScannedKey {
  std::vector<std::int64_t> ints;  // of a part that is no string
  StringColumn strings;
};
struct ScannedColumn {
  std::vector<char> values;  // side by side; of a field that is no string
  StringColumn strings;
  std::vector<std::uint8_t> valid;
};
struct ScannedRows {
  std::size_t n = 0;
  std::vector<ScannedKey> keys;
  std::vector<std::int64_t> event_us, created_us;
  std::vector<std::int32_t> ttl_seconds;  // 0: none
  std::vector<ScannedColumn> columns;
};

// All rows of one moment, in no order. While it lives, memory of rows that are replaced is not used again: it
// should be short. One thread at a time; the table must outlive it.
class TableScan {
 public:
  TableScan();
  ~TableScan();
  TableScan(TableScan&&) noexcept;
  TableScan& operator=(TableScan&&) noexcept;

  // The next rows, `n` at most; false where there are none left.
  bool Next(std::size_t n, ScannedRows* rows);

  struct Impl;

 private:
  friend class OnlineTable;
  explicit TableScan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Thread-safe. Reads wait for no writer and take no lock, but that a follower's take one for a moment, to
// hold on to the memory that they read. Upserts and deletions take turns.
class OnlineTable {
 public:
  OnlineTable();
  ~OnlineTable();  // what was not flushed is, as far as the disk allows
  OnlineTable(OnlineTable&&) noexcept;
  OnlineTable& operator=(OnlineTable&&) noexcept;

  // In memory only: gone with the process.
  static TableStatus Create(const TableSchema& schema, const TableOptions& options, OnlineTable* table);

  // The table of a directory, for writing; made where it is not there and `schema` is given. kBusy: another
  // process writes it. kBadSpec: it has another schema. kCorrupt: `detail` names file and byte. kIo, kFull.
  static TableStatus Open(const std::string& directory, const TableSchema* schema,
                          const TableOptions& options, OnlineTable* table);

  // What another process shares, read-only; follows it when it starts anew. kIo: nobody shared it.
  static TableStatus OpenReader(const std::string& directory, OnlineTable* table);

  // Keeps the newest row of each key by (event time, created time); on equal times the later one wins.
  // Readers see all of the batch or nothing of it, and after an error nothing is changed. In a directory they
  // see it once it is on disk: see Wait. kBadShape where a key is null (`got` says which) or a row too long,
  // kFull, kIo, kClosed; kNotWritable of a reader.
  TableStatus Upsert(const UpsertBatch& batch, UpsertResult* result);

  // Forgets keys, whatever their times: the next row of such a key is its first.
  TableStatus Delete(const KeyBatch& keys, UpsertResult* result);

  // Until everything up to this ticket is on disk and visible. kIo, kFull: it is neither, and was undone.
  TableStatus Wait(std::uint64_t ticket);
  // The same for all that was put before. An error that nobody has waited for is told here, once.
  TableStatus Flush();

  // Writes all rows to a new file, so that opening need not replay what the log has so far. Upserts and reads
  // go on meanwhile.
  TableStatus Snapshot();

  // Flushes, and leaves a snapshot where the log has anything. Afterwards only reads are possible.
  TableStatus Close();

  // `fields` are numbers of the schema, none twice; kBadSpec otherwise.
  Status Select(const std::vector<std::uint32_t>& fields, FieldSelection* selection) const;

  // The newest row of each key. Each 4,096 of the keys are answered as of one moment during the call.
  void Get(const FieldSelection& selection, const ReadBatch& batch, ReadWorkspace* workspace) const;

  // All rows that are visible now. kNotWritable of a reader in another process.
  TableStatus Scan(TableScan* scan) const;

  const TableSchema& schema() const;
  TableStats Stats() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainspring

#endif  // MAINSPRING_TABLE_H_
