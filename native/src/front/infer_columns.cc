#include "infer_columns.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "infer_envelope.h"
#include "json_text.h"

namespace mainspring::front {
namespace {

std::string_view DatatypeOf(FrontType type) {
  if (type == FrontType::kFloat32) return "FP32";
  return type == FrontType::kInt64 ? "INT64" : "BYTES";
}

class ColumnsReader {
 public:
  ColumnsReader(std::string_view json, std::string_view binary, const PredictFields& fields,
                std::size_t max_rows, InferColumns* call)
      : envelope_(json, kScoreOutput),
        json_(envelope_.json()),
        json_size_(json.size()),
        binary_(binary),
        fields_(fields),
        max_rows_(std::min(max_rows, kMaxPredictCells / std::max<std::size_t>(1, fields.size()))),
        call_(*call),
        columns_(call->columns) {}

  bool Read() {
    Begin();
    if (!envelope_.Read([this] { return Inputs(); })) return false;
    call_.id = envelope_.id();
    call_.wants_binary = envelope_.wants_binary();
    return Binaries() && IsWhole();
  }

 private:
  void Begin() {
    call_.raws.clear();
    columns_.by_entity = columns_.has_overrides = columns_.has_time = false;
    columns_.rows = 0;
    columns_.decoded.clear();
    if (columns_.columns.size() < fields_.size()) columns_.columns.resize(fields_.size());
    for (std::size_t i = 0; i < fields_.size(); ++i) columns_.columns[i].Clear();
  }

  // A list of all inputs, each once, in any order.
  bool Inputs() {
    if (!json_.Take('[')) return false;
    do {
      if (!Input()) return false;
      ++n_inputs_;
    } while (json_.Take(','));
    return json_.Take(']') && n_inputs_ == fields_.size();
  }

  // `data` comes after the name, which says what it is made of.
  bool Input() {
    std::size_t field = PredictFields::kNone;
    std::string_view datatype;
    std::uint64_t rows = 0, n_bytes = 0;
    bool has_shape = false, has_datatype = false, has_parameters = false, has_data = false, is_raw = false;
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      if (name == "name") return field == PredictFields::kNone && Name(&field);
      if (name == "datatype") return First(&has_datatype) && json_.Text(&datatype);
      if (name == "shape") return First(&has_shape) && Shape(&rows);
      if (name == "data") return First(&has_data) && field != PredictFields::kNone && Data(field);
      return name == "parameters" && First(&has_parameters) &&
             ReadParameter(&json_, "binary_data_size", &is_raw, [&] { return json_.Size(&n_bytes); });
    });
    if (!is_read || field == PredictFields::kNone || !has_shape || has_data == is_raw) return false;
    if (datatype != DatatypeOf(fields_[field].type)) return false;
    if (n_inputs_ > 0 && rows != columns_.rows) return false;
    columns_.rows = static_cast<std::size_t>(rows);
    if (is_raw) call_.raws.push_back({field, static_cast<std::size_t>(n_bytes)});
    return true;
  }

  bool Name(std::size_t* field) {
    std::string_view name;
    if (!json_.Text(&name)) return false;
    *field = fields_.Find(name, n_inputs_);
    return *field != PredictFields::kNone && columns_.columns[*field].n == 0 && !HasRaw(*field);
  }

  bool HasRaw(std::size_t field) const {
    return std::any_of(call_.raws.begin(), call_.raws.end(),
                       [field](const InferColumns::Raw& raw) { return raw.field == field; });
  }

  bool Shape(std::uint64_t* rows) {
    return json_.Take('[') && json_.Size(rows) && json_.Take(']') && *rows >= 1 && *rows <= max_rows_;
  }

  // A flat list of one value at least.
  bool Data(std::size_t field) {
    PredictColumn& column = columns_.columns[field];
    const FrontType type = fields_[field].type;
    if (!json_.Take('[')) return false;
    do {
      if (column.n == max_rows_) return false;
      const bool is_read = type == FrontType::kFloat32 ? Float(&column)
                           : type == FrontType::kInt64 ? Int(&column)
                                                       : String(&column);
      if (!is_read) return false;
      ++column.n;
    } while (json_.Take(','));
    return json_.Take(']');
  }

  bool Float(PredictColumn* column) {
    double value = 0;
    if (!json_.Number(&value)) return false;
    column->floats.push_back(static_cast<float>(value));
    return !std::isinf(column->floats.back());
  }

  bool Int(PredictColumn* column) {
    std::int64_t value = 0;
    std::string_view sent;
    if (!json_.Int64(&value, &sent)) return false;
    column->ints.push_back(value);
    return true;
  }

  bool String(PredictColumn* column) {
    std::string_view text;
    bool is_plain = false;
    if (!json_.RawText(&text, &is_plain)) return false;
    if (!is_plain && text.find('\\') != std::string_view::npos) {
      // Room for all that may come, once: texts before this one must stay where they are.
      columns_.decoded.reserve(json_size_);
      const std::size_t begin = columns_.decoded.size();
      if (!AppendDecoded(text, &columns_.decoded)) return false;
      text = std::string_view(columns_.decoded).substr(begin);
    } else if (!is_plain && !IsUtf8(text)) {
      return false;
    }
    Put(text, column);
    return true;
  }

  // "" is a missing value, and what sticks the request to a bundle is the text.
  static void Put(std::string_view text, PredictColumn* column) {
    column->texts.push_back({text.data(), static_cast<std::uint32_t>(text.size())});
    column->is_null.push_back(0);
  }

  bool Binaries() {
    std::string_view left = binary_;
    for (const InferColumns::Raw& raw : call_.raws) {
      if (raw.n_bytes > left.size() || !Binary(raw.field, left.substr(0, raw.n_bytes))) return false;
      left.remove_prefix(raw.n_bytes);
    }
    return left.empty();
  }

  bool Binary(std::size_t field, std::string_view bytes) {
    PredictColumn& column = columns_.columns[field];
    column.n = columns_.rows;
    switch (fields_[field].type) {
      case FrontType::kFloat32:
        if (!Copy(bytes, &column.floats)) return false;
        for (const float value : column.floats) {
          if (std::isinf(value)) return false;
          column.has_null = column.has_null || std::isnan(value);
        }
        return true;
      case FrontType::kInt64:
        return Copy(bytes, &column.ints);
      default:
        return Texts(bytes, &column);
    }
  }

  template <typename Value>
  bool Copy(std::string_view bytes, std::vector<Value>* to) const {
    if (bytes.size() != columns_.rows * sizeof(Value)) return false;
    to->resize(columns_.rows);
    std::memcpy(to->data(), bytes.data(), bytes.size());
    return true;
  }

  // Each a little-endian length of 4 bytes, and so many of UTF-8.
  bool Texts(std::string_view bytes, PredictColumn* column) const {
    for (std::size_t i = 0; i < columns_.rows; ++i) {
      std::uint32_t size = 0;
      if (bytes.size() < sizeof size) return false;
      std::memcpy(&size, bytes.data(), sizeof size);
      bytes.remove_prefix(sizeof size);
      if (bytes.size() < size) return false;
      const std::string_view text = bytes.substr(0, size);
      if (!IsUtf8(text)) return false;
      Put(text, column);
      bytes.remove_prefix(size);
    }
    return bytes.empty();
  }

  // Whether every column has a value for every row.
  bool IsWhole() const {
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (columns_.columns[i].n != columns_.rows) return false;
    }
    return true;
  }

  InferEnvelope envelope_;
  JsonReader& json_;
  const std::size_t json_size_;
  const std::string_view binary_;
  const PredictFields& fields_;
  const std::size_t max_rows_;
  InferColumns& call_;
  PredictCall& columns_;
  std::size_t n_inputs_ = 0;
};

}  // namespace

bool ReadInferColumns(std::string_view json, std::string_view binary, const PredictFields& fields,
                      std::size_t max_rows, InferColumns* call) {
  return ColumnsReader(json, binary, fields, max_rows, call).Read();
}

}  // namespace mainspring::front
