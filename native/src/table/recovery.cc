#include "recovery.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "log_format.h"

namespace mainspring {
namespace {

constexpr const char* kRestore =
    "restore the directory from a copy, or move it away and write the rows again from their source";

TableStatus Corrupt(const std::string& path, std::size_t at, const char* expected) {
  return {{StatusCode::kCorrupt, -1, expected, false, 0, kRestore},
          "`" + path + "` at byte " + std::to_string(at)};
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// Rows of records into a table, a batch at a time.
class Applier {
 public:
  explicit Applier(Recovered* to) : to_(to) {}

  // False where the payload is no rows.
  TableStatus Apply(const RecordHeader& record, const char* payload, bool* is_good) {
    const TableMemory& memory = *to_->memory;
    *is_good = DecodeRows(memory.schema, memory.layout, payload, record, &rows_);
    if (!*is_good) return {};
    if (!is_open_) to_->writer->Begin(0);
    is_open_ = true;
    if (kept_.size() < rows_.size()) kept_.resize(rows_.size());
    const Status status = to_->writer->Put(rows_.data(), rows_.size(), kept_.data());
    if (!status.ok()) return status;
    if ((record.flags & RecordHeader::kLast) != 0) {
      to_->writer->Commit(to_->writer->begun(), 0);
      is_open_ = false;
    }
    return {};
  }

  bool is_open() const { return is_open_; }
  void Undo() {
    if (is_open_) to_->writer->Undo();
    is_open_ = false;
  }

 private:
  Recovered* const to_;
  std::vector<StagedRow> rows_;
  std::vector<std::uint8_t> kept_;
  bool is_open_ = false;
};

TableStatus LoadSnapshot(const std::string& path, std::uint64_t number, const TableSchema* wanted,
                         const MakeMemory& make, Recovered* recovered) {
  MappedFile file;
  TableStatus status = file.Open(path);
  if (!status.ok()) return status;
  FileHeader header;
  std::string encoded;
  TableSchema schema;
  std::size_t at = DecodeFileHeader(FileKind::kSnapshot, file.data(), file.size(), &header, &encoded);
  if (at == 0 || header.number != number || !DecodeSchema(encoded.data(), encoded.size(), &schema)) {
    return Corrupt(path, 0, "a snapshot must begin with a header of this release");
  }
  if (wanted != nullptr && !(*wanted == schema)) {
    return {{StatusCode::kBadSpec, -1, "a table must be opened with the schema that it was made with", false,
             0, "use another directory for another schema"},
            "`" + path + "`"};
  }
  status = make(schema, header.rows, recovered);
  if (!status.ok()) return status;
  Applier applier(recovered);
  constexpr const char* kExpected = "a snapshot's records must be as they were written";
  std::uint64_t sequence = 0, rows = 0;
  for (;;) {
    RecordHeader record;
    const Scan scan = ReadRecord(file.data(), file.size(), at, header.salt, &record);
    if (scan == Scan::kEnd) break;
    if (scan == Scan::kBad || record.sequence != sequence++) return Corrupt(path, at, kExpected);
    bool is_good;
    status = applier.Apply(record, file.data() + at + sizeof(record), &is_good);
    if (!status.ok()) return status;
    if (!is_good) return Corrupt(path, at, kExpected);
    rows += record.rows;
    at += sizeof(record) + record.bytes;
  }
  if (rows != header.rows || applier.is_open())
    return Corrupt(path, at, "a snapshot must hold all of its rows");
  recovered->next_log = number;
  recovered->next_sequence = header.first_sequence;
  return {};
}

// Cuts `path` off at `bytes`, durably.
TableStatus Cut(const std::string& path, std::size_t bytes) {
  const File file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.is_open() || ftruncate(file.fd(), static_cast<off_t>(bytes)) != 0) return FileError(path);
  return SyncData(file.fd(), path);
}

TableStatus ReplayLog(const std::string& path, std::uint64_t number, bool is_last, Recovered* recovered) {
  MappedFile file;
  TableStatus status = file.Open(path);
  if (!status.ok()) return status;
  FileHeader header;
  std::string encoded;
  std::size_t at = DecodeFileHeader(FileKind::kLog, file.data(), file.size(), &header, &encoded);
  if (at == 0 || header.number != number || header.first_sequence != recovered->next_sequence ||
      encoded != EncodeSchema(recovered->memory->schema)) {
    return Corrupt(path, 0, "a log must begin with a header of this release, and go on from the one before");
  }
  Applier applier(recovered);
  constexpr const char* kExpected = "a log's records must be as they were written";
  std::uint64_t sequence = header.first_sequence;
  const std::size_t records_at = at;
  std::size_t batch_at = at;
  std::uint64_t batch_sequence = sequence;
  Scan scan;
  for (RecordHeader record;
       (scan = ReadRecord(file.data(), file.size(), at, header.salt, &record)) == Scan::kRecord;) {
    if (record.sequence != sequence) return Corrupt(path, at, kExpected);
    bool is_good;
    status = applier.Apply(record, file.data() + at + sizeof(record), &is_good);
    if (!status.ok()) return status;
    if (!is_good) return Corrupt(path, at, kExpected);
    ++sequence;
    at += sizeof(record) + record.bytes;
    if (applier.is_open()) continue;
    batch_at = at;
    batch_sequence = sequence;
  }
  if (scan == Scan::kBad || applier.is_open()) {
    if (!is_last || HasGroupAfter(file.data(), file.size(), at, header.salt)) {
      return Corrupt(path, at, kExpected);
    }
    applier.Undo();
    status = Cut(path, batch_at);
    if (!status.ok()) return status;
  }
  recovered->next_sequence = batch_sequence;
  recovered->log_bytes += batch_at - records_at;
  return {};
}

}  // namespace

TableStatus FindTableFiles(const std::string& directory, TableFiles* files) {
  std::vector<std::string> names;
  const TableStatus status = ListDirectory(directory, &names);
  if (!status.ok()) return status;
  for (const std::string& name : names) {
    std::uint64_t number;
    if (ParseFileName(name, FileKind::kLog, &number)) files->logs.push_back(number);
    if (ParseFileName(name, FileKind::kSnapshot, &number)) files->snapshots.push_back(number);
  }
  std::sort(files->logs.begin(), files->logs.end());
  std::sort(files->snapshots.begin(), files->snapshots.end());
  return {};
}

TableStatus RemoveTableFilesBefore(const std::string& directory, std::uint64_t log_number) {
  std::vector<std::string> names;
  const TableStatus status = ListDirectory(directory, &names);
  if (!status.ok()) return status;
  for (const std::string& name : names) {
    std::uint64_t number;
    const bool is_ours =
        ParseFileName(name, FileKind::kLog, &number) || ParseFileName(name, FileKind::kSnapshot, &number);
    const bool is_half_made = (StartsWith(name, "log-") || StartsWith(name, "snapshot-")) &&
                              name.size() > 4 && name.compare(name.size() - 4, 4, ".tmp") == 0;
    if (is_half_made || (is_ours && number < log_number)) RemoveFile(directory + "/" + name);
  }
  return {};
}

TableStatus Recover(const std::string& directory, const TableFiles& files, const TableSchema* schema,
                    const MakeMemory& make, Recovered* recovered) {
  const auto path = [&directory](FileKind kind, std::uint64_t number) {
    return directory + "/" + FileName(kind, number);
  };
  const auto has_log = [&files](std::uint64_t number) {
    return std::binary_search(files.logs.begin(), files.logs.end(), number);
  };
  TableStatus newest;
  for (std::size_t i = files.snapshots.size(); i-- > 0;) {
    const std::uint64_t number = files.snapshots[i];
    const TableStatus status =
        LoadSnapshot(path(FileKind::kSnapshot, number), number, schema, make, recovered);
    if (status.ok()) {
      newest = {};
      break;
    }
    *recovered = {};
    // An older snapshot does as well while the logs since are there.
    const bool has_older = i > 0 && has_log(files.snapshots[i - 1]);
    if (newest.ok()) newest = status;
    if (status.status.code != StatusCode::kCorrupt || !has_older) return newest;
  }
  if (recovered->memory == nullptr) return newest;
  const std::uint64_t last = files.logs.empty() ? 0 : files.logs.back();
  for (; recovered->next_log <= last; ++recovered->next_log) {
    const std::uint64_t number = recovered->next_log;
    if (!has_log(number)) {
      return Corrupt(path(FileKind::kLog, number), 0, "every log from the snapshot on must be there");
    }
    const std::uint64_t sequence = recovered->next_sequence;
    const TableStatus status = ReplayLog(path(FileKind::kLog, number), number, number == last, recovered);
    if (!status.ok()) return status;
    // One that nobody wrote to is begun again, or each opening would leave a file.
    if (number == last && recovered->next_sequence == sequence) break;
  }
  return {};
}

}  // namespace mainspring
