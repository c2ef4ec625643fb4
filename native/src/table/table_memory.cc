#include "table_memory.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace mainspring {
namespace {

constexpr std::size_t kMinSlots = 256;

constexpr std::size_t RoundUp(std::size_t x, std::size_t unit) { return (x + unit - 1) / unit * unit; }

Status NotATable() {
  return {StatusCode::kCorrupt,
          -1,
          "the shared table's file must hold a table of this release",
          false,
          0,
          "start the process that writes it anew"};
}

void Finish(TableMemory* memory) {
  memory->layout = LayOut(memory->schema);
  memory->missing_row = MissingRow(memory->schema, memory->layout);
  char* const base = memory->arena.base();
  memory->header = reinterpret_cast<TableHeader*>(base);
  memory->rows = base + memory->header->rows_at;
  memory->heap = base + memory->header->heap_at;
  memory->seed = memory->header->seed;
  memory->has_int_key = memory->schema.keys.size() == 1 && memory->schema.keys[0].type == KeyType::kInt64;
}

}  // namespace

Status TableMemory::Create(const TableSchema& schema, std::uint64_t max_rows, std::uint64_t seed,
                           const std::string& path, TableMemory* memory, std::string* detail) {
  const RowLayout layout = LayOut(schema);
  const std::string encoded = EncodeSchema(schema);
  // No array of slots is more than 3/4 full. Twice the largest is enough for all that lie behind one another,
  // and again for those that only leave out keys that are gone.
  std::size_t slots = kMinSlots;
  while (slots / 4 * 3 < max_rows) slots *= 2;
  TableHeader header{};
  header.magic = TableHeader::kMagic;
  header.seed = seed;
  header.max_rows = max_rows;
  header.rows_at = RoundUp(sizeof(TableHeader) + encoded.size(), Arena::kHugePage);
  header.index_at = RoundUp(header.rows_at + layout.row_bytes * (max_rows + 1), Arena::kHugePage);
  header.heap_at = RoundUp(header.index_at + 4 * slots * 8 + 16 * Arena::kHugePage, Arena::kHugePage);
  header.arena_bytes = header.heap_at + (layout.has_heap ? kHeapReserve : 0);
  header.schema_bytes = encoded.size();
  header.state = static_cast<std::uint64_t>(TableState::kLive);

  TableMemory made;
  Status status = path.empty() ? Arena::Reserve(header.arena_bytes, &made.arena)
                               : Arena::CreateFile(path, header.arena_bytes, &made.arena, detail);
  if (!status.ok()) return status;
  status = made.arena.Commit(0, RoundUp(sizeof(TableHeader) + encoded.size(), Arena::kPage));
  if (!status.ok()) return status;
  std::memcpy(made.arena.base(), &header, sizeof(header));
  std::memcpy(made.arena.base() + offsetof(TableHeader, schema), encoded.data(), encoded.size());
  made.schema = schema;
  Finish(&made);
  *memory = std::move(made);
  return {};
}

Status TableMemory::Open(const std::string& path, TableMemory* memory, std::string* detail) {
  TableMemory made;
  const Status status = Arena::OpenFile(path, &made.arena, detail);
  if (!status.ok()) return status;
  const std::size_t bytes = made.arena.bytes();
  TableHeader header;
  if (bytes < sizeof(header)) return NotATable();
  std::memcpy(&header, made.arena.base(), sizeof(header));
  if (header.magic != TableHeader::kMagic || header.arena_bytes != bytes ||
      header.schema_bytes > header.rows_at - offsetof(TableHeader, schema) ||
      header.rows_at < sizeof(header) || header.rows_at > header.index_at ||
      header.index_at > header.heap_at || header.heap_at > bytes ||
      !DecodeSchema(made.arena.base() + offsetof(TableHeader, schema), header.schema_bytes, &made.schema)) {
    return NotATable();
  }
  const RowLayout layout = LayOut(made.schema);
  if ((header.index_at - header.rows_at) / layout.row_bytes <= header.max_rows ||
      (layout.has_heap && bytes - header.heap_at < kHeapReserve)) {
    return NotATable();
  }
  Finish(&made);
  *memory = std::move(made);
  return {};
}

}  // namespace mainspring
