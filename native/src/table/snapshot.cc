#include "snapshot.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "row_reader.h"

namespace mainspring {
namespace {

constexpr std::size_t kGroup = 32;

// A file that is made under another name, record by record.
class SnapshotFile {
 public:
  SnapshotFile(const std::string& directory, const Moment& moment)
      : directory_(directory),
        path_(directory + "/" + FileName(FileKind::kSnapshot, moment.log_number)),
        temporary_(path_ + ".tmp") {
    std::random_device random;
    header_.number = moment.log_number;
    header_.first_sequence = moment.first_sequence;
    header_.rows = moment.rows;
    header_.salt = std::uint64_t{random()} << 32 | random();
  }
  ~SnapshotFile() {
    if (!is_done_) RemoveFile(temporary_);
  }

  TableStatus Begin(const std::string& schema) {
    file_ = File(open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file_.is_open()) return FileError(temporary_);
    return Write(EncodeFileHeader(FileKind::kSnapshot, header_, schema));
  }
  TableStatus Add(BatchEncoder* batch) {
    sequence_ += batch->Seal(sequence_, header_.salt, false);
    const TableStatus status = Write(batch->bytes());
    batch->Clear();
    return status;
  }
  TableStatus End() {
    TableStatus status = SyncData(file_.fd(), temporary_);
    if (!status.ok()) return status;
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return FileError(path_);
    is_done_ = true;
    return SyncDirectory(directory_);
  }

 private:
  TableStatus Write(const std::string& bytes) {
    return WriteAll(file_.fd(), bytes.data(), bytes.size(), temporary_);
  }

  const std::string directory_, path_, temporary_;
  FileHeader header_;
  File file_;
  std::uint64_t sequence_ = 0;
  bool is_done_ = false;
};

}  // namespace

TableStatus WriteSnapshot(const std::string& directory, const TableMemory& memory, const Moment& moment) {
  SnapshotFile file(directory, moment);
  TableStatus status = file.Begin(EncodeSchema(memory.schema));
  if (!status.ok()) return status;
  BatchEncoder batch(memory.layout);
  RowReader reader(memory);
  const IndexView index(memory.arena.base(), moment.index);
  std::uint32_t rows[kGroup];
  for (std::size_t first = 0; first <= index.mask(); first += kGroup) {
    for (std::size_t i = 0; i < kGroup; ++i) {
      rows[i] = Slot::Row(Load(index.slots + first + i));
      if (rows[i] == 0) continue;
      const char* const row = memory.RowAt(rows[i]);
      for (std::size_t at = 0; at < memory.layout.row_bytes && at < 512; at += 64)
        __builtin_prefetch(row + at);
    }
    for (std::size_t i = 0; i < kGroup; ++i) {
      StagedRow staged;
      std::size_t outside;
      if (rows[i] != 0 && reader.Take(rows[i], moment.committed, &staged, &outside))
        batch.Add(staged, outside);
    }
    if (batch.bytes().size() < BatchEncoder::kRecordBytes) continue;
    status = file.Add(&batch);
    if (!status.ok()) return status;
  }
  if (!batch.empty()) status = file.Add(&batch);
  return status.ok() ? file.End() : status;
}

TableStatus WriteEmptySnapshot(const std::string& directory, const TableSchema& schema,
                               const Moment& moment) {
  SnapshotFile file(directory, moment);
  const TableStatus status = file.Begin(EncodeSchema(schema));
  return status.ok() ? file.End() : status;
}

}  // namespace mainspring
