#include "row_layout.h"

#include <cstring>
#include <limits>
#include <utility>

namespace mainspring {
namespace {

constexpr std::size_t kRowUnit = 32;
// Room in the row for strings of usual length.
constexpr std::size_t kInlineKeyString = 20, kInlineString = 12;

constexpr std::size_t RoundUp(std::size_t x, std::size_t unit) { return (x + unit - 1) / unit * unit; }

Status Bad(const char* expected, double got, const char* next_step) {
  return {StatusCode::kBadSpec, -1, expected, true, got, next_step};
}

void Put32(std::string* to, std::uint32_t x) { to->append(reinterpret_cast<const char*>(&x), sizeof(x)); }

void PutName(std::string* to, const std::string& name) {
  Put32(to, static_cast<std::uint32_t>(name.size()));
  to->append(name);
}

// Reads what EncodeSchema wrote, never beyond its end.
class Decoder {
 public:
  Decoder(const char* data, std::size_t size) : at_(data), end_(data + size) {}

  template <typename T>
  T Take() {
    T x{};
    if (static_cast<std::size_t>(end_ - at_) < sizeof(T)) {
      is_bad_ = true;
      return x;
    }
    std::memcpy(&x, at_, sizeof(T));
    at_ += sizeof(T);
    return x;
  }

  std::string TakeName() {
    const std::size_t size = Take<std::uint32_t>();
    if (is_bad_ || static_cast<std::size_t>(end_ - at_) < size) {
      is_bad_ = true;
      return {};
    }
    std::string name(at_, size);
    at_ += size;
    return name;
  }

  bool is_done() const { return !is_bad_ && at_ == end_; }
  bool is_bad() const { return is_bad_; }

 private:
  const char* at_;
  const char* const end_;
  bool is_bad_ = false;
};

}  // namespace

std::size_t CellBytes(const TableField& field) {
  switch (field.type) {
    case FieldType::kBool:
      return 1;
    case FieldType::kInt32:
    case FieldType::kFloat32:
      return 4;
    case FieldType::kFloat32Vector:
      return std::size_t{4} * field.width;
    case FieldType::kInt64:
    case FieldType::kFloat64:
    case FieldType::kTimestampUs:
    case FieldType::kString:
    case FieldType::kBytes:
      return 8;
  }
  return 8;
}

Status CheckTableSchema(const TableSchema& schema) {
  if (schema.keys.empty() || schema.keys.size() > kMaxKeyParts) {
    return Bad("a table must have 1 to 16 key parts", static_cast<double>(schema.keys.size()),
               "name what identifies a row");
  }
  if (schema.fields.empty() || schema.fields.size() > kMaxFields) {
    return Bad("a table must have 1 to 4096 fields", static_cast<double>(schema.fields.size()),
               "put long lists of numbers into one float32 vector");
  }
  if (schema.max_age_us < 0 && schema.max_age_us != kNoMaxAge) {
    return Bad("`max_age_us` must not be negative", static_cast<double>(schema.max_age_us),
               "give no age for rows that never grow old");
  }
  for (const TableKey& key : schema.keys) {
    if (key.type > KeyType::kString) {
      return Bad("a key's type must be int64 or string", static_cast<double>(key.type), "correct the schema");
    }
  }
  std::size_t bytes = 0;
  for (const TableField& field : schema.fields) {
    if (field.type > FieldType::kFloat32Vector) {
      return Bad("a field's type must be a known one", static_cast<double>(field.type), "correct the schema");
    }
    const bool is_vector = field.type == FieldType::kFloat32Vector;
    if (field.width == 0 || (!is_vector && field.width != 1) || field.width > kMaxRowBytes / 4) {
      return Bad("a vector's width must be 1 to 262144, any other field's 1", field.width,
                 "correct the schema");
    }
    bytes += CellBytes(field);
  }
  if (bytes + 1024 > kMaxRowBytes) {
    return Bad("the fields of a row must take less than 1 MiB", static_cast<double>(bytes),
               "split the table");
  }
  return {};
}

bool operator==(const TableSchema& a, const TableSchema& b) { return EncodeSchema(a) == EncodeSchema(b); }

RowLayout LayOut(const TableSchema& schema) {
  RowLayout layout;
  std::size_t tail = 0;
  for (const TableKey& key : schema.keys) {
    layout.has_heap = layout.has_heap || key.type == KeyType::kString;
    tail += key.type == KeyType::kString ? kInlineKeyString : 8;
  }
  for (const TableField& field : schema.fields) {
    if (!IsVariable(field.type)) continue;
    layout.has_heap = true;
    tail += kInlineString;
  }
  std::size_t at = layout.has_heap ? 48 : 32;
  layout.bits_at = static_cast<std::uint32_t>(at);
  layout.bit_words = static_cast<std::uint32_t>((schema.fields.size() + 63) / 64);
  at += std::size_t{8} * layout.bit_words;
  layout.tail_at = static_cast<std::uint32_t>(at);
  std::size_t fields = 0;
  for (const TableField& field : schema.fields) fields += CellBytes(field);
  tail = RoundUp(tail, 8);
  const std::size_t used = at + tail + fields;
  layout.row_bytes = static_cast<std::uint32_t>(RoundUp(used, kRowUnit));
  // What rounding leaves over serves strings; keys of integers need no more than they need.
  if (layout.has_heap) tail += (layout.row_bytes - used) / 8 * 8;
  layout.tail_bytes = static_cast<std::uint32_t>(tail);
  at += tail;

  layout.field_at.resize(schema.fields.size());
  for (const std::size_t alignment : {8, 4, 1}) {
    for (std::size_t i = 0; i < schema.fields.size(); ++i) {
      const TableField& field = schema.fields[i];
      const std::size_t own = field.type == FieldType::kFloat32Vector ? 4 : CellBytes(field);
      if (own != alignment) continue;
      layout.field_at[i] = static_cast<std::uint32_t>(at);
      at += CellBytes(field);
    }
  }
  return layout;
}

std::vector<char> MissingRow(const TableSchema& schema, const RowLayout& layout) {
  std::vector<char> row(layout.row_bytes, 0);
  for (std::size_t i = 0; i < schema.fields.size(); ++i) {
    char* const cell = row.data() + layout.field_at[i];
    constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
    constexpr double kWideNaN = std::numeric_limits<double>::quiet_NaN();
    const FieldType type = schema.fields[i].type;
    if (type == FieldType::kFloat64) std::memcpy(cell, &kWideNaN, sizeof(kWideNaN));
    if (type != FieldType::kFloat32 && type != FieldType::kFloat32Vector) continue;
    for (std::size_t j = 0; j < schema.fields[i].width; ++j) std::memcpy(cell + 4 * j, &kNaN, sizeof(kNaN));
  }
  return row;
}

std::string EncodeSchema(const TableSchema& schema) {
  std::string to;
  to.append(reinterpret_cast<const char*>(&schema.max_age_us), sizeof(schema.max_age_us));
  Put32(&to, static_cast<std::uint32_t>(schema.keys.size()));
  for (const TableKey& key : schema.keys) {
    Put32(&to, static_cast<std::uint32_t>(key.type));
    PutName(&to, key.name);
  }
  Put32(&to, static_cast<std::uint32_t>(schema.fields.size()));
  for (const TableField& field : schema.fields) {
    Put32(&to, static_cast<std::uint32_t>(field.type));
    Put32(&to, field.width);
    PutName(&to, field.name);
  }
  return to;
}

bool DecodeSchema(const char* data, std::size_t size, TableSchema* schema) {
  Decoder from(data, size);
  TableSchema made;
  made.max_age_us = from.Take<std::int64_t>();
  const std::size_t n_keys = from.Take<std::uint32_t>();
  if (n_keys > kMaxKeyParts) return false;
  for (std::size_t i = 0; i < n_keys && !from.is_bad(); ++i) {
    const std::uint32_t type = from.Take<std::uint32_t>();
    if (type > static_cast<std::uint32_t>(KeyType::kString)) return false;
    made.keys.push_back({from.TakeName(), static_cast<KeyType>(type)});
  }
  const std::size_t n_fields = from.Take<std::uint32_t>();
  if (n_fields > kMaxFields) return false;
  for (std::size_t i = 0; i < n_fields && !from.is_bad(); ++i) {
    const std::uint32_t type = from.Take<std::uint32_t>();
    if (type > static_cast<std::uint32_t>(FieldType::kFloat32Vector)) return false;
    const std::uint32_t width = from.Take<std::uint32_t>();
    made.fields.push_back({from.TakeName(), static_cast<FieldType>(type), width});
  }
  if (!from.is_done() || !CheckTableSchema(made).ok()) return false;
  *schema = std::move(made);
  return true;
}

}  // namespace mainspring
