#include "log_format.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "crc32c.h"

namespace mainspring {
namespace {

constexpr std::size_t kFileHeaderBytes = 48, kCrcAt = 44;
constexpr std::size_t kMaxSchemaBytes = std::size_t{1} << 20;

constexpr std::size_t RoundUp8(std::size_t x) { return (x + 7) / 8 * 8; }

const char* Magic(FileKind kind) { return kind == FileKind::kLog ? "MSNGLOG1" : "MSNGSNP1"; }
const char* Prefix(FileKind kind) { return kind == FileKind::kLog ? "log-" : "snapshot-"; }

std::uint32_t FileCrc(const char* header, const char* schema, std::size_t schema_bytes) {
  return Crc32c(schema, schema_bytes, Crc32c(header, kCrcAt, 0));
}

std::uint32_t RecordCrc(const RecordHeader& record, const char* payload, std::uint64_t salt) {
  const auto from = static_cast<std::uint32_t>(salt ^ (salt >> 32));
  const char* const header = reinterpret_cast<const char*>(&record) + 8;
  return Crc32c(payload, record.bytes, Crc32c(header, sizeof(RecordHeader) - 8, from));
}

}  // namespace

static_assert(sizeof(RecordHeader) == 32, "as the file has it");

std::string FileName(FileKind kind, std::uint64_t number) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%016" PRIx64, number);
  return std::string(Prefix(kind)) + digits;
}

bool ParseFileName(const std::string& name, FileKind kind, std::uint64_t* number) {
  unsigned long long x = 0;
  const std::string prefix = Prefix(kind);
  if (name.compare(0, prefix.size(), prefix) != 0) return false;
  if (std::sscanf(name.c_str() + prefix.size(), "%16llx", &x) != 1) return false;
  *number = x;
  return name == FileName(kind, x);
}

std::string EncodeFileHeader(FileKind kind, const FileHeader& header, const std::string& schema) {
  std::string bytes(kFileHeaderBytes, '\0');
  const std::uint64_t numbers[4] = {header.number, header.first_sequence, header.rows, header.salt};
  const auto schema_bytes = static_cast<std::uint32_t>(schema.size());
  std::memcpy(bytes.data(), Magic(kind), 8);
  std::memcpy(bytes.data() + 8, numbers, sizeof(numbers));
  std::memcpy(bytes.data() + 40, &schema_bytes, 4);
  const std::uint32_t crc = FileCrc(bytes.data(), schema.data(), schema.size());
  std::memcpy(bytes.data() + kCrcAt, &crc, 4);
  bytes += schema;
  bytes.resize(RoundUp8(bytes.size()), '\0');
  return bytes;
}

std::size_t DecodeFileHeader(FileKind kind, const char* data, std::size_t size, FileHeader* header,
                             std::string* schema) {
  if (size < kFileHeaderBytes || std::memcmp(data, Magic(kind), 8) != 0) return 0;
  std::uint64_t numbers[4];
  std::uint32_t schema_bytes, crc;
  std::memcpy(numbers, data + 8, sizeof(numbers));
  std::memcpy(&schema_bytes, data + 40, 4);
  std::memcpy(&crc, data + kCrcAt, 4);
  if (schema_bytes > kMaxSchemaBytes || RoundUp8(schema_bytes) > size - kFileHeaderBytes) return 0;
  if (FileCrc(data, data + kFileHeaderBytes, schema_bytes) != crc) return 0;
  *header = {numbers[0], numbers[1], numbers[2], numbers[3]};
  schema->assign(data + kFileHeaderBytes, schema_bytes);
  return kFileHeaderBytes + RoundUp8(schema_bytes);
}

Scan ReadRecord(const char* data, std::size_t size, std::size_t at, std::uint64_t salt,
                RecordHeader* record) {
  if (at == size) return Scan::kEnd;
  if (size - at < sizeof(RecordHeader)) return Scan::kBad;
  std::memcpy(record, data + at, sizeof(RecordHeader));
  if (record->magic != RecordHeader::kMagic || record->bytes % 8 != 0 ||
      record->bytes > size - at - sizeof(RecordHeader)) {
    return Scan::kBad;
  }
  return RecordCrc(*record, data + at + sizeof(RecordHeader), salt) == record->crc ? Scan::kRecord
                                                                                   : Scan::kBad;
}

bool HasGroupAfter(const char* data, std::size_t size, std::size_t at, std::uint64_t salt) {
  for (std::size_t next = at + 8; next + sizeof(RecordHeader) <= size; next += 8) {
    std::uint32_t magic;
    std::memcpy(&magic, data + next, sizeof(magic));
    if (magic != RecordHeader::kMagic) continue;
    RecordHeader record;
    const bool is_record = ReadRecord(data, size, next, salt, &record) == Scan::kRecord;
    if (is_record && (record.flags & RecordHeader::kGroupStart) != 0) return true;
  }
  return false;
}

bool DecodeRows(const TableSchema& schema, const RowLayout& layout, const char* payload,
                const RecordHeader& record, std::vector<StagedRow>* rows) {
  rows->clear();
  const std::size_t body_bytes = layout.row_bytes - 8;
  const char* const end = payload + record.bytes;
  const char* at = payload;
  for (std::uint32_t i = 0; i < record.rows; ++i) {
    if (static_cast<std::size_t>(end - at) < body_bytes) return false;
    StagedRow row{at, nullptr};
    at += body_bytes;
    if (layout.has_heap) {
      const std::uint32_t tail = FieldOf<std::uint32_t>(row.body, RowLayout::kTailSizeAt - 8);
      const std::uint32_t key = FieldOf<std::uint32_t>(row.body, RowLayout::kKeySizeAt - 8);
      if (tail > kMaxTailBytes || key > tail) return false;
      for (std::size_t j = 0; j < schema.fields.size(); ++j) {
        if (!IsVariable(schema.fields[j].type)) continue;
        const auto begin = FieldOf<std::uint32_t>(row.body, layout.field_at[j] - 8);
        const auto length = FieldOf<std::uint32_t>(row.body, layout.field_at[j] - 4);
        if (begin > tail || length > tail - begin) return false;
      }
      if (tail > layout.tail_bytes) {
        if (static_cast<std::size_t>(end - at) < RoundUp8(tail)) return false;
        row.tail = at;
        at += RoundUp8(tail);
      }
    }
    rows->push_back(row);
  }
  return at == end;
}

void BatchEncoder::Clear() {
  bytes_.clear();
  records_.clear();
  rows_of_.clear();
}

void BatchEncoder::Add(const StagedRow& row, std::size_t outside_bytes) {
  if (records_.empty() || bytes_.size() - records_.back() >= kRecordBytes) {
    records_.push_back(bytes_.size());
    rows_of_.push_back(0);
    bytes_.append(sizeof(RecordHeader), '\0');
  }
  bytes_.append(row.body, layout_.row_bytes - 8);
  if (outside_bytes > 0) bytes_.append(row.tail, outside_bytes);
  ++rows_of_.back();
}

std::size_t BatchEncoder::Seal(std::uint64_t first_sequence, std::uint64_t salt, bool is_group_start) {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const bool is_last = i + 1 == records_.size();
    const std::size_t end = is_last ? bytes_.size() : records_[i + 1];
    RecordHeader record{};
    record.magic = RecordHeader::kMagic;
    record.bytes = end - records_[i] - sizeof(RecordHeader);
    record.sequence = first_sequence + i;
    record.rows = rows_of_[i];
    record.flags =
        (is_last ? RecordHeader::kLast : 0) | (i == 0 && is_group_start ? RecordHeader::kGroupStart : 0);
    char* const to = bytes_.data() + records_[i];
    record.crc = RecordCrc(record, to + sizeof(RecordHeader), salt);
    std::memcpy(to, &record, sizeof(record));
  }
  return records_.size();
}

}  // namespace mainspring
