#include "table_scan.h"

#include <utility>

#include "keys.h"

namespace mainspring {
namespace {

void Append(StringColumn* to, const char* data, std::size_t size) {
  to->bytes.insert(to->bytes.end(), data, data + size);
  to->offsets.push_back(static_cast<std::int64_t>(to->bytes.size()));
}

void Clear(StringColumn* column) {
  column->offsets.assign(1, 0);
  column->bytes.clear();
}

}  // namespace

void TableScan::Impl::Clear(ScannedRows* rows) const {
  const TableSchema& schema = memory->schema;
  rows->n = 0;
  rows->keys.resize(schema.keys.size());
  rows->columns.resize(schema.fields.size());
  for (ScannedKey& key : rows->keys) {
    key.ints.clear();
    mainspring::Clear(&key.strings);
  }
  for (ScannedColumn& column : rows->columns) {
    column.values.clear();
    column.valid.clear();
    mainspring::Clear(&column.strings);
  }
  rows->event_us.clear();
  rows->created_us.clear();
  rows->ttl_seconds.clear();
}

void TableScan::Impl::Add(const StagedRow& staged, ScannedRows* rows) const {
  const TableSchema& schema = memory->schema;
  const RowLayout& layout = memory->layout;
  const char* const row = staged.body - 8;  // places count from the version, which comes before
  const char* const tail = staged.tail != nullptr ? staged.tail : row + layout.tail_at;
  ++rows->n;
  rows->event_us.push_back(FieldOf<std::int64_t>(row, RowLayout::kEventAt));
  rows->created_us.push_back(FieldOf<std::int64_t>(row, RowLayout::kCreatedAt));
  rows->ttl_seconds.push_back(
      static_cast<std::int32_t>(TtlSeconds(FieldOf<std::uint32_t>(row, RowLayout::kFlagsAt))));
  const char* at = tail;
  for (std::size_t part = 0; part < schema.keys.size(); ++part) {
    if (schema.keys[part].type == KeyType::kInt64) {
      rows->keys[part].ints.push_back(FieldOf<std::int64_t>(at, 0));
      at += 8;
      continue;
    }
    // A string that is the whole key has no length before it.
    const bool is_only = schema.keys.size() == 1;
    const auto size =
        is_only ? FieldOf<std::uint32_t>(row, RowLayout::kKeySizeAt) : FieldOf<std::uint32_t>(at, 0);
    if (!is_only) at += 4;
    Append(&rows->keys[part].strings, at, size);
    at += size;
  }
  for (std::size_t j = 0; j < schema.fields.size(); ++j) {
    const TableField& field = schema.fields[j];
    ScannedColumn& column = rows->columns[j];
    const char* const cell = row + layout.field_at[j];
    const auto bits = FieldOf<std::uint64_t>(row, layout.bits_at + j / 64 * 8);
    column.valid.push_back(static_cast<std::uint8_t>(bits >> (j % 64) & 1));
    if (IsVariable(field.type)) {
      Append(&column.strings, tail + FieldOf<std::uint32_t>(cell, 0), FieldOf<std::uint32_t>(cell, 4));
    } else {
      column.values.insert(column.values.end(), cell, cell + CellBytes(field));
    }
  }
}

TableScan::TableScan() = default;
TableScan::~TableScan() = default;
TableScan::TableScan(TableScan&&) noexcept = default;
TableScan& TableScan::operator=(TableScan&&) noexcept = default;

TableScan::TableScan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

bool TableScan::Next(std::size_t n, ScannedRows* rows) {
  impl_->Clear(rows);
  const std::size_t n_slots = impl_->index.mask() + 1;
  for (; impl_->next_slot < n_slots && rows->n < n; ++impl_->next_slot) {
    const std::uint32_t row = Slot::Row(Load(impl_->index.slots + impl_->next_slot));
    StagedRow staged;
    std::size_t outside;
    if (row != 0 && impl_->reader.Take(row, impl_->committed, &staged, &outside)) impl_->Add(staged, rows);
  }
  return rows->n > 0;
}

}  // namespace mainspring
