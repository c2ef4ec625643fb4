// The bytes of logs and snapshots: a header, then records, each with its checksum. Version 1; all
// little-endian.
//
//   file    magic 8 | number 8 | first sequence 8 | rows 8 | salt 8 | schema bytes 4 | CRC-32C 4 | schema,
//   padded record  magic 4 | CRC-32C 4 | payload bytes 8 | sequence 8 | rows 4 | flags 4 | payload
//
// Sums of records start from the file's salt, so that a record of another file is none here. The payload is
// rows as RowLayout has them without their version, each followed by its tail where that is not in the row.
// Records follow one another by their sequence; a batch is as many of them as it takes, the last one flagged.

#ifndef MAINSPRING_SRC_TABLE_LOG_FORMAT_H_
#define MAINSPRING_SRC_TABLE_LOG_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "row_layout.h"
#include "table_writer.h"

namespace mainspring {

enum class FileKind { kLog, kSnapshot };

struct FileHeader {
  std::uint64_t number = 0;          // of a log; of a snapshot: the log that goes on from it
  std::uint64_t first_sequence = 0;  // of that log
  std::uint64_t rows = 0;            // of a snapshot
  std::uint64_t salt = 0;
};

struct RecordHeader {
  static constexpr std::uint32_t kMagic = 0x4352534D;  // "MSRC"
  static constexpr std::uint32_t kLast = 1;            // of its batch
  // The first of what was written together: everything before it was on disk by then.
  static constexpr std::uint32_t kGroupStart = 2;

  std::uint32_t magic, crc;
  std::uint64_t bytes, sequence;
  std::uint32_t rows, flags;
};

std::string FileName(FileKind kind, std::uint64_t number);
// The number in such a name; false for any other.
bool ParseFileName(const std::string& name, FileKind kind, std::uint64_t* number);

std::string EncodeFileHeader(FileKind kind, const FileHeader& header, const std::string& schema);
// Where the records begin, or 0: damaged.
std::size_t DecodeFileHeader(FileKind kind, const char* data, std::size_t size, FileHeader* header,
                             std::string* schema);

enum class Scan { kRecord, kEnd, kBad };

// The record at `at`; its payload follows the header.
Scan ReadRecord(const char* data, std::size_t size, std::size_t at, std::uint64_t salt, RecordHeader* record);

// Whether a group of records begins after `at`: then what is at `at` was on disk, and was damaged since.
bool HasGroupAfter(const char* data, std::size_t size, std::size_t at, std::uint64_t salt);

// The rows of a record. False where they are not rows of this schema: an accident that no checksum sees.
bool DecodeRows(const TableSchema& schema, const RowLayout& layout, const char* payload,
                const RecordHeader& record, std::vector<StagedRow>* rows);

// Rows to records.
class BatchEncoder {
 public:
  // Of one record's payload, unless one row is larger.
  static constexpr std::size_t kRecordBytes = std::size_t{1} << 20;

  explicit BatchEncoder(const RowLayout& layout) : layout_(layout) {}

  void Clear();
  void Add(const StagedRow& row, std::size_t outside_bytes);
  // Numbers, flags and sums; returns how many records there are.
  std::size_t Seal(std::uint64_t first_sequence, std::uint64_t salt, bool is_group_start);
  const std::string& bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }

 private:
  const RowLayout layout_;
  std::string bytes_;
  std::vector<std::size_t> records_;
  std::vector<std::uint32_t> rows_of_;  // each record
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_LOG_FORMAT_H_
