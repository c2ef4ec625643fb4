#include "row_stager.h"

#include <cstring>

namespace mainspring {
namespace {

template <typename T>
bool IsNaN(T x) {
  return x != x;
}

template <typename T>
bool IsMissing(const InputColumn& column, std::size_t i, T) {
  return column.valid != nullptr && column.valid[i] == 0;
}
bool IsMissing(const InputColumn& column, std::size_t i, float x) {
  return IsNaN(x) || (column.valid != nullptr && column.valid[i] == 0);
}
bool IsMissing(const InputColumn& column, std::size_t i, double x) {
  return IsNaN(x) || (column.valid != nullptr && column.valid[i] == 0);
}

void SetBit(char* bits, std::size_t field) {
  bits[field / 8] = static_cast<char>(bits[field / 8] | 1 << (field % 8));
}

// Cells of rows that hold the missing value; `rows` and `cells` are those of the first.
template <typename T>
void StageCells(const InputColumn& column, std::size_t first, std::size_t n, std::size_t stride,
                std::size_t field, char* bits, char* cells) {
  for (std::size_t i = 0; i < n; ++i) {
    T x;
    std::memcpy(&x, static_cast<const char*>(column.values) + (first + i) * sizeof(T), sizeof(T));
    if (IsMissing(column, first + i, x)) continue;
    std::memcpy(cells + i * stride, &x, sizeof(T));
    SetBit(bits + i * stride, field);
  }
}

}  // namespace

RowStager::RowStager(const TableMemory* memory)
    : memory_(memory),
      rows_(kRows * memory->layout.row_words()),
      tails_(memory->layout.has_heap ? kRows : 0) {}

Status RowStager::CheckKeys(const KeyBatch& keys, std::size_t* bytes) const {
  for (std::size_t i = 0; keys.is_null != nullptr && i < keys.n; ++i) {
    if (keys.is_null[i] == 0) continue;
    return {StatusCode::kBadShape,        -1, "a row must have a key", true, static_cast<double>(i),
            "drop the rows without a key"};
  }
  *bytes = keys.n * (memory_->layout.row_bytes - 8);
  return {};
}

Status RowStager::Check(const UpsertBatch& batch, std::size_t* bytes) const {
  const Status status = CheckKeys(batch.keys, bytes);
  if (!status.ok() || !memory_->layout.has_heap) return status;
  const std::vector<TableField>& fields = memory_->schema.fields;
  for (std::size_t i = 0; i < batch.keys.n; ++i) {
    std::size_t tail = EncodedBytes(memory_->schema.keys, batch.keys.columns, i);
    for (std::size_t j = 0; j < fields.size(); ++j) {
      if (!IsVariable(fields[j].type)) continue;
      const std::int64_t* const offsets = batch.columns[j].offsets;
      tail += static_cast<std::size_t>(offsets[i + 1] - offsets[i]);
    }
    if (tail > kMaxTailBytes) {
      return {StatusCode::kBadShape,
              -1,
              "a row's key and strings together must take at most 16 MiB",
              true,
              static_cast<double>(i),
              "store a reference instead of the value"};
    }
    if (tail > memory_->layout.tail_bytes) *bytes += (tail + 7) / 8 * 8;
  }
  return {};
}

const StagedRow* RowStager::Stage(const UpsertBatch& batch, std::size_t first, std::size_t n) {
  const RowLayout& layout = memory_->layout;
  const std::size_t stride = layout.row_bytes;
  char* const rows = reinterpret_cast<char*>(rows_.data());
  for (std::size_t i = 0; i < n; ++i) {
    char* const row = rows + i * stride;
    std::memcpy(row, memory_->missing_row.data(), stride);
    std::memcpy(row + RowLayout::kEventAt, batch.event_us + first + i, 8);
    std::memcpy(row + RowLayout::kCreatedAt, batch.created_us + first + i, 8);
    if (batch.ttl_seconds == nullptr || batch.ttl_seconds[first + i] <= 0) continue;
    const std::uint32_t flags = static_cast<std::uint32_t>(batch.ttl_seconds[first + i]) << 1;
    std::memcpy(row + RowLayout::kFlagsAt, &flags, sizeof(flags));
  }
  char* const bits = rows + layout.bits_at;
  for (std::size_t j = 0; j < memory_->schema.fields.size(); ++j) {
    const TableField& field = memory_->schema.fields[j];
    const InputColumn& column = batch.columns[j];
    char* const cells = rows + layout.field_at[j];
    switch (field.type) {
      case FieldType::kBool:
        for (std::size_t i = 0; i < n; ++i) {
          if (column.valid != nullptr && column.valid[first + i] == 0) continue;
          cells[i * stride] = static_cast<const char*>(column.values)[first + i] != 0 ? 1 : 0;
          SetBit(bits + i * stride, j);
        }
        break;
      case FieldType::kInt32:
        StageCells<std::int32_t>(column, first, n, stride, j, bits, cells);
        break;
      case FieldType::kInt64:
      case FieldType::kTimestampUs:
        StageCells<std::int64_t>(column, first, n, stride, j, bits, cells);
        break;
      case FieldType::kFloat32:
        StageCells<float>(column, first, n, stride, j, bits, cells);
        break;
      case FieldType::kFloat64:
        StageCells<double>(column, first, n, stride, j, bits, cells);
        break;
      case FieldType::kFloat32Vector: {
        const std::size_t bytes = std::size_t{4} * field.width;
        const char* const from = static_cast<const char*>(column.values) + first * bytes;
        for (std::size_t i = 0; i < n; ++i) {
          if (column.valid != nullptr && column.valid[first + i] == 0) continue;
          std::memcpy(cells + i * stride, from + i * bytes, bytes);
          SetBit(bits + i * stride, j);
        }
        break;
      }
      case FieldType::kString:
      case FieldType::kBytes:
        for (std::size_t i = 0; i < n; ++i) {
          if (column.valid == nullptr || column.valid[first + i] != 0) SetBit(bits + i * stride, j);
        }
        break;
    }
  }
  StageTails(batch.keys, batch.columns, first, n);
  return staged_;
}

const StagedRow* RowStager::StageDeletions(const KeyBatch& keys, std::size_t first, std::size_t n) {
  const std::size_t stride = memory_->layout.row_bytes;
  char* const rows = reinterpret_cast<char*>(rows_.data());
  for (std::size_t i = 0; i < n; ++i) {
    std::memcpy(rows + i * stride, memory_->missing_row.data(), stride);
    std::memcpy(rows + i * stride + RowLayout::kFlagsAt, &kDeletedFlag, sizeof(kDeletedFlag));
  }
  StageTails(keys, nullptr, first, n);
  return staged_;
}

// The keys, and the strings of `columns` unless it is null.
void RowStager::StageTails(const KeyBatch& keys, const InputColumn* columns, std::size_t first,
                           std::size_t n) {
  const RowLayout& layout = memory_->layout;
  const std::vector<TableKey>& parts = memory_->schema.keys;
  const std::vector<TableField>& fields = memory_->schema.fields;
  for (std::size_t i = 0; i < n; ++i) {
    char* const row = reinterpret_cast<char*>(rows_.data()) + i * layout.row_bytes;
    staged_[i] = {row + 8, nullptr};
    const std::size_t key_bytes = EncodedBytes(parts, keys.columns, first + i);
    if (key_.size() < key_bytes) key_.resize(key_bytes);
    const KeyView key = EncodeKey(parts, keys.columns, first + i, key_.data());
    if (!layout.has_heap) {
      std::memcpy(row + layout.tail_at, key.data, key.size);
      continue;
    }
    std::string& tail = tails_[i];
    tail.assign(key.data, key.size);
    for (std::size_t j = 0; columns != nullptr && j < fields.size(); ++j) {
      if (!IsVariable(fields[j].type)) continue;
      const InputColumn& column = columns[j];
      if (column.valid != nullptr && column.valid[first + i] == 0) continue;
      const std::int64_t from = column.offsets[first + i];
      const std::uint32_t cell[2] = {static_cast<std::uint32_t>(tail.size()),
                                     static_cast<std::uint32_t>(column.offsets[first + i + 1] - from)};
      if (cell[1] > 0) tail.append(static_cast<const char*>(column.values) + from, cell[1]);
      std::memcpy(row + layout.field_at[j], cell, sizeof(cell));
    }
    const std::uint32_t sizes[2] = {static_cast<std::uint32_t>(tail.size()), key.size};
    std::memcpy(row + RowLayout::kTailSizeAt, sizes, sizeof(sizes));
    if (tail.size() <= layout.tail_bytes) {
      if (!tail.empty()) std::memcpy(row + layout.tail_at, tail.data(), tail.size());
    } else {
      tail.resize((tail.size() + 7) / 8 * 8, '\0');
      staged_[i].tail = tail.data();
    }
  }
}

}  // namespace mainspring
